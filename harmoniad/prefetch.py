"""Loading ahead: worker threads decode the next batches while the caller computes on the present one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

BATCHES_AHEAD = 2  # bounds the memory: this many batches are decoded or being decoded beside the one at hand


def load_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded], *, batch_size: int, workers: int
) -> Iterator[list[tuple[Item, Loaded]]]:
    """Load items in worker threads, and give them in their order, in batches.

    Threads are enough: Pillow lets go of Python's lock while it decodes and resizes.

    Args:
        items: What to load; may be endless, and is read no further than needed.
        load: Called once an item, in a worker. Its exception is raised when the item's turn comes.
        batch_size: How many to give at a time; the last batch may be smaller.
        workers: How many threads; 0 loads in the caller's own, one batch at a time.

    Yields:
        Pairs of an item and what was loaded.
    """
    waiting = iter(items)
    if workers == 0:
        while batch := [(item, load(item)) for item in islice(waiting, batch_size)]:
            yield batch
        return
    pool = ThreadPoolExecutor(workers)
    try:
        queue: deque[tuple[Item, Future[Loaded]]] = deque(
            (item, pool.submit(load, item)) for item in islice(waiting, BATCHES_AHEAD * batch_size)
        )
        while queue:
            now = [queue.popleft() for _ in range(min(batch_size, len(queue)))]
            queue.extend((item, pool.submit(load, item)) for item in islice(waiting, len(now)))
            yield [(item, future.result()) for item, future in now]
    finally:  # also when the caller stops early
        pool.shutdown(cancel_futures=True)
