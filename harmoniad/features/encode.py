"""Filling the feature cache: decode in worker threads, encode, write."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from harmoniad.data.images import load_rgb
from harmoniad.features.cache import FeatureCache
from harmoniad.features.encoders import Encoder, EncoderSpec, choose_device
from harmoniad.params import Encode
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
    with Progress("encode", len(missing), "images") as progress:
        for names, batch in _batches(missing, images, encoder, params):
            layers = [layer.cpu().numpy() for layer in encoder(batch)]
            cache = cache or FeatureCache.create(root, spec, [layer.shape[1:] for layer in layers])
            for position, sha256 in enumerate(names):
                cache.write(sha256, [layer[position] for layer in layers])
            progress.advance(len(names))
    assert cache is not None, "there is at least one missing image, so the loop has run"
    return cache, len(missing)


def _batches(
    names: Sequence[str], images: Mapping[str, Path], encoder: Encoder, params: Encode
) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Give batches of decoded images, decoding a few batches ahead."""
    with ThreadPoolExecutor(max(1, params.workers)) as pool:

        def decode(name: str) -> np.ndarray:
            return encoder.resize(Image.fromarray(load_rgb(images[name])))

        waiting = iter(names)
        ahead = params.batch_size * 2
        queue: list[tuple[str, Future[np.ndarray]]] = [(n, pool.submit(decode, n)) for n in islice(waiting, ahead)]
        while queue:
            now, queue = queue[: params.batch_size], queue[params.batch_size :]
            queue += [(name, pool.submit(decode, name)) for name in islice(waiting, len(now))]
            try:
                yield [name for name, _ in now], [image.result() for _, image in now]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
