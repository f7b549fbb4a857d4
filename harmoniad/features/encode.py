"""Filling the feature cache: decode in worker threads, encode, write."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from harmoniad.data.images import load_rgb
from harmoniad.features.cache import FeatureCache
from harmoniad.features.encoders import Encoder, EncoderSpec, choose_device
from harmoniad.params import Encode
from harmoniad.prefetch import load_ahead
from harmoniad.progress import Progress


def ensure_features(
    images: Mapping[str, Path], spec: EncoderSpec, params: Encode, device: str
) -> tuple[FeatureCache, int]:
    """Encode the images that the cache does not hold yet.

    Args:
        images: Path of each image by the SHA-256 of its content.
        spec: The encoder.
        params: Batch size, decoding threads and the place of the cache.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        The cache, and how many images were encoded.

    Raises:
        HarmoniadError: Weights are missing, an image cannot be decoded, or the disk is full. What was encoded is kept.
    """
    root = Path(params.cache)
    cache = FeatureCache.open(root, spec)
    missing = cache.missing(images) if cache else list(images)
    if cache and not missing:
        return cache, 0
    encoder = Encoder(spec, choose_device(device))

    def decode(sha256: str) -> np.ndarray:
        return encoder.resize(Image.fromarray(load_rgb(images[sha256])))

    with Progress("encode", len(missing), "images") as progress:
        for batch in load_ahead(missing, decode, batch_size=params.batch_size, workers=max(1, params.workers)):
            names, pixels = zip(*batch, strict=True)
            layers = [layer.cpu().numpy() for layer in encoder(pixels)]
            cache = cache or FeatureCache.create(root, spec, [layer.shape[1:] for layer in layers])
            for position, sha256 in enumerate(names):
                cache.write(sha256, [layer[position] for layer in layers])
            progress.advance(len(names))
    assert cache is not None, "there is at least one missing image, so the loop has run"
    return cache, len(missing)
