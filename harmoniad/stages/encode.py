"""Stage `encode`: bring the features of every view of every image into the cache."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.data.manifest import fingerprint, read_manifest, usable
from harmoniad.features.cache import FeatureCache
from harmoniad.features.dataset import image_paths, image_views
from harmoniad.features.encode import ensure_features
from harmoniad.features.encoders import EncoderSpec
from harmoniad.features.views import views_of
from harmoniad.files import sha256_json, write_json
from harmoniad.params import Params

if TYPE_CHECKING:
    import pandas as pd

INDEX = Path("results/encode/features.json")


def run(params: Params) -> str:
    """Encode what is new and write which features there are.

    Raises:
        HarmoniadError: Weights are missing, an image cannot be decoded, or the disk is full. What was encoded is kept.
    """
    manifest = usable(read_manifest(params.data.sets))
    images = image_paths(manifest)
    spec = EncoderSpec.from_params(params.encoder)
    cache, keys, encoded = encode_images(manifest, spec, params)
    index = {
        "encoder": asdict(spec),
        "key": spec.key,
        "shapes": [list(shape) for shape in cache.shapes],
        "images": len(images),
        "views": len(keys),
        "views_sha256": sha256_json(keys),
        "data_fingerprint": fingerprint(manifest),
    }
    write_json(INDEX, index)
    return (
        f"encode: {encoded} views encoded, {len(keys) - encoded} were in the cache {cache.folder.as_posix()} "
        f"({len(images)} images)"
    )


def encode_images(manifest: "pd.DataFrame", spec: EncoderSpec, params: Params) -> tuple[FeatureCache, list[str], int]:
    """Encode what the cache lacks of a manifest's images, and give the keys of all views and how many were encoded.

    Raises:
        HarmoniadError: See `run`.
    """
    views = image_views(manifest, lambda row: views_of(row, params.views))
    cache, encoded = ensure_features(image_paths(manifest), spec, params.encode, params.device, views)
    keys = sorted({view.key(sha256) for sha256, of_image in views.items() for view in of_image})
    return cache, keys, encoded
