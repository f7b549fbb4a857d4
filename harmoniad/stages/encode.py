"""Stage `encode`: bring the features of every image into the cache."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.data.manifest import fingerprint, read_manifest, usable
from harmoniad.features.cache import FeatureCache
from harmoniad.features.dataset import image_paths
from harmoniad.features.encode import ensure_features
from harmoniad.features.encoders import EncoderSpec
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
    cache, encoded = encode_images(manifest, spec, params)
    index = {
        "encoder": asdict(spec),
        "key": spec.key,
        "shapes": [list(shape) for shape in cache.shapes],
        "images": len(images),
        "images_sha256": sha256_json(sorted(images)),
        "data_fingerprint": fingerprint(manifest),
    }
    write_json(INDEX, index)
    return f"encode: {encoded} images encoded, {len(images) - encoded} were in the cache {cache.folder.as_posix()}"


def encode_images(manifest: "pd.DataFrame", spec: EncoderSpec, params: Params) -> tuple[FeatureCache, int]:
    """Encode what the cache lacks of a manifest's images, and tell how many that were.

    Raises:
        HarmoniadError: See `run`.
    """
    return ensure_features(image_paths(manifest), spec, params.encode, params.device)
