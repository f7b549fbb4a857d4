"""Images of many requests, shown to the model together by the one thread that computes."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from harmoniad.inspector import Inspector, Prediction

Images, Categories = Sequence["np.ndarray"], Sequence[str | None]


@dataclass(frozen=True)
class Judged:
    """A prediction, and the model that made it."""

    prediction: "Prediction"
    inspector: "Inspector"


@dataclass(frozen=True)
class _Waiting:
    image: "np.ndarray"
    category: str | None
    result: "Future[Judged]" = field(default_factory=Future)


class Batcher:
    """Takes images from any thread and gives each its prediction.

    A batch is what has come while the one before was computed, and what comes within a few milliseconds if there are
    requests under way that may still bring an image.

    Args:
        inspector: Gives the model for the next batch.
        limit: Images in a batch at most.
        wait_ms: How long a batch waits for more images.
        under_way: How many requests there are.
        on_batch: Is told the size of each batch.
    """

    def __init__(
        self,
        inspector: Callable[[], "Inspector"],
        limit: int,
        wait_ms: float,
        under_way: Callable[[], int],
        on_batch: Callable[[int], object],
    ) -> None:
        self._inspector, self._limit, self._wait = inspector, limit, wait_ms / 1000
        self._under_way, self._on_batch = under_way, on_batch
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def predict(self, image: "np.ndarray", category: str | None) -> Judged:
        """Wait for the prediction of an image (H, W, 3) uint8; the calling thread must not be the server's own loop."""
        waiting = _Waiting(image, category)
        self._waiting.put(waiting)
        return waiting.result.result()

    def close(self) -> None:
        """Finish what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, ended = self._collect(first)
            self._on_batch(len(batch))
            self._judge(batch)
            if ended:
                return
            del first, batch  # or the last images would be held until the next come

    def _collect(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        batch, until = [first], time.monotonic() + self._wait
        while len(batch) < self._limit:
            more_may_come = len(batch) < self._under_way()
            left = until - time.monotonic() if more_may_come else 0
            try:
                found = self._waiting.get(timeout=left) if left > 0 else self._waiting.get_nowait()
            except queue.Empty:
                return batch, False
            if found is None:
                return batch, True
            batch.append(found)
        return batch, False

    def _judge(self, batch: Sequence[_Waiting]) -> None:
        try:
            inspector = self._inspector()
            predictions = inspector.predict([each.image for each in batch], [each.category for each in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].result.set_exception(error)
                return
            for each in batch:  # one image must not spoil the others
                self._judge([each])
            return
        for each, prediction in zip(batch, predictions, strict=True):
            each.result.set_result(Judged(prediction, inspector))


class PixelBudget:
    """Bounds the memory that images take which are decoded at the same time.

    An image with its map takes about 10 bytes a pixel. Who asks first is served first, so that a large image is not
    kept waiting by small ones for ever.
    """

    def __init__(self, pixels: int) -> None:
        self._free, self._all = pixels, pixels
        self._turn, self._changed = threading.Lock(), threading.Condition()

    @contextmanager
    def of(self, pixels: int) -> "Iterator[None]":
        """Wait until there is room for an image, and hold it."""
        pixels = min(pixels, self._all)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()
