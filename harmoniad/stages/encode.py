"""Stage `encode`: bring the features of every view of every image into the cache."""

from dataclasses import asdict
from pathlib import Path

from harmoniad.data.manifest import fingerprint, read_manifest, usable
from harmoniad.features.dataset import image_paths, image_views
from harmoniad.features.encode import ensure_features
from harmoniad.features.encoders import EncoderSpec
from harmoniad.features.views import views_of
from harmoniad.files import sha256_json, write_json
from harmoniad.params import Params

INDEX = Path("results/encode/features.json")


def run(params: Params) -> str:
    """Encode what is new and write which features there are.

    Raises:
        HarmoniadError: Weights are missing, an image cannot be decoded, or the disk is full. What was encoded is kept.
    """
    manifest = usable(read_manifest(params.data.sets))
    images = image_paths(manifest)
    spec = EncoderSpec.from_params(params.encoder)
    views = image_views(manifest, lambda row: views_of(row, params.views))
    cache, encoded = ensure_features(images, spec, params.encode, params.device, views)
    keys = sorted({view.key(sha256) for sha256, of_image in views.items() for view in of_image})
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
