"""Filling the feature cache: decode in worker threads, encode, write."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from harmoniad.data.images import load_rgb
from harmoniad.features.cache import FeatureCache
from harmoniad.features.encoders import Encoder, EncoderSpec, choose_device
from harmoniad.features.views import View
from harmoniad.params import Encode
from harmoniad.progress import Progress

WHOLE = (View(),)


@dataclass(frozen=True)
class _Seen:
    """A view of an image as the encoder takes it, with the mask of its made defect."""

    key: str
    pixels: np.ndarray
    mask: np.ndarray | None


def ensure_features(
    images: Mapping[str, Path],
    spec: EncoderSpec,
    params: Encode,
    device: str,
    views: Mapping[str, Sequence[View]] | None = None,
) -> tuple[FeatureCache, int]:
    """Encode the views that the cache does not hold yet; a line on stderr tells how long these took.

    Args:
        images: Path of each image by the SHA-256 of its content.
        spec: The encoder.
        params: Batch size, decoding threads and the place of the cache.
        device: `auto`, `cpu` or `cuda`.
        views: Views of each image by the SHA-256 of its content; without them, the images as they are.

    Returns:
        The cache, and how many views were encoded.

    Raises:
        HarmoniadError: Weights are missing, an image cannot be decoded, or the disk is full. What was encoded is kept.
    """
    root = Path(params.cache)
    cache = FeatureCache.open(root, spec)
    wanted = {sha256: views[sha256] if views else WHOLE for sha256 in images}
    missing = _missing(wanted, cache) if cache else wanted
    count = sum(len(views) for views in missing.values())
    if cache and not missing:
        return cache, 0
    encoder = Encoder(spec, choose_device(device))
    start = time.monotonic()
    with Progress("encode", count, "views") as progress:
        for batch in _batches(missing, images, encoder.input_size, params):
            layers = [layer.cpu().numpy() for layer in encoder([seen.pixels for seen in batch])]
            cache = cache or FeatureCache.create(root, spec, [layer.shape[1:] for layer in layers])
            for position, seen in enumerate(batch):
                if seen.mask is not None:
                    cache.write_mask(seen.key, seen.mask)
                cache.write(seen.key, [layer[position] for layer in layers])
            progress.advance(len(batch))
    print(f"encode: {count} views in {time.monotonic() - start:.2f} s", file=sys.stderr)
    assert cache is not None, "there is at least one missing view, so the loop has run"
    return cache, count


def _missing(wanted: Mapping[str, Sequence[View]], cache: FeatureCache) -> dict[str, list[View]]:
    """The views that are not in the cache, of the images that have such."""
    missing = {}
    for sha256, views in wanted.items():
        keys = {view.key(sha256): view for view in views}
        absent = {*cache.missing(keys), *cache.missing_masks(k for k, v in keys.items() if v.synthetic is not None)}
        if absent:
            missing[sha256] = [view for key, view in keys.items() if key in absent]
    return missing


def _batches(
    missing: Mapping[str, Sequence[View]], images: Mapping[str, Path], size: int, params: Encode
) -> Iterator[list[_Seen]]:
    """Give batches of views. Each image is decoded once, and only as many ahead as two batches need."""
    with ThreadPoolExecutor(max(1, params.workers)) as pool:

        def look(sha256: str) -> list[_Seen]:
            image = Image.fromarray(load_rgb(images[sha256]))
            return [_Seen(view.key(sha256), *view.apply_with_mask(image, size, sha256)) for view in missing[sha256]]

        def stream() -> Iterator[_Seen]:
            waiting, ahead = iter(missing), 0
            queue: list[tuple[int, Future[list[_Seen]]]] = []
            while True:
                while ahead < 2 * params.batch_size and (sha256 := next(waiting, None)) is not None:
                    queue.append((len(missing[sha256]), pool.submit(look, sha256)))
                    ahead += len(missing[sha256])
                if not queue:
                    return
                count, future = queue.pop(0)
                yield from future.result()
                ahead -= count

        try:
            seen = stream()
            while batch := list(islice(seen, params.batch_size)):
                yield batch
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
