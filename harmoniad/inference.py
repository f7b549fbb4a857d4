"""From image files, or their bytes, to verdicts: decoding goes on in worker threads while the network computes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.data.images import load_rgb
from harmoniad.prefetch import load_ahead

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harmoniad.inspector import Inspector, Prediction

Source = Path | bytes


def predict_stream(
    inspector: "Inspector",
    images: Iterable[Source],
    categories: Iterable[str | None] | None = None,
    *,
    batch_size: int = 16,
    workers: int = 2,
) -> "Iterator[Prediction]":
    """Score images as they come, in their order; the stream may be endless.

    Args:
        inspector: The model at work.
        images: Files, or the content of files (JPEG, PNG, BMP, TIFF or WebP).
        categories: Category of each image where it is known; it chooses the threshold.
        batch_size: How many images the detector sees at a time.
        workers: Threads that decode; 0 decodes in the caller's own.

    Raises:
        HarmoniadError: An image cannot be decoded; the message names its file, or its place in the stream.
    """
    numbered = enumerate(images)
    known = iter(categories) if categories is not None else None

    def load(item: tuple[int, Source]) -> "NDArray[np.uint8]":
        number, source = item
        return load_rgb(source) if isinstance(source, Path) else load_rgb(Path(f"image {number}"), source)

    for batch in load_ahead(numbered, load, batch_size=batch_size, workers=workers):
        names = [next(known) for _ in batch] if known is not None else None
        yield from inspector.predict([pixels for _, pixels in batch], names)
