"""One function over many items on all cores."""

import contextlib
import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from harmoniad.errors import HarmoniadError

Item = TypeVar("Item")
Result = TypeVar("Result")

# With small images, Python's lock lets threads use little more than one core; processes take a second to start.
PROCESSES_FROM = 2000
MAX_PROCESSES = 61  # what Windows can wait for
MAX_CHUNK = 32  # items a worker gets at once
CHUNKS_AHEAD = 4  # a worker: this bounds what is finished but not yet asked for


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], processes_from: int | None = PROCESSES_FROM
) -> Generator[Result, None, None]:
    """Call `function` for each item in threads, or in processes if there are many items, and give the results in order.

    Warnings are silenced in the workers.

    Args:
        function: Where there may be processes, defined at the top of a module, so that they find it.
        items: What it is called with.
        processes_from: From how many items on it is worth to start processes; None always takes threads.

    Raises:
        HarmoniadError: A worker process was killed. What `function` raises is raised too.
    """
    workers = os.cpu_count() or 1
    size = max(1, min(MAX_CHUNK, len(items) // (8 * workers)))
    chunks = iter([items[start : start + size] for start in range(0, len(items), size)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = processes_from is not None and len(items) >= processes_from
        pool: Executor = _processes(workers, function) if many else ThreadPoolExecutor(workers)
        try:
            yield from _in_order(pool, function, chunks, CHUNKS_AHEAD * workers)
        except BrokenProcessPool as error:
            raise HarmoniadError(
                "a worker process was ended from outside, usually for lack of memory. Run the same command again: it "
                "goes on where it was."
            ) from error
        finally:  # also when the caller stops early
            pool.shutdown(cancel_futures=True)


def _in_order(
    pool: Executor, function: Callable[[Item], Result], chunks: Iterator[Sequence[Item]], ahead: int
) -> Iterator[Result]:
    queue: deque[Future[list[Result]]] = deque()
    for chunk in chunks:
        queue.append(pool.submit(_call_all, function, chunk))
        if len(queue) >= ahead:
            yield from queue.popleft().result()
    for future in queue:
        yield from future.result()


def _call_all(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def _processes(workers: int, function: Callable[[Item], Result]) -> ProcessPoolExecutor:
    """Processes that share the memory of what they import, where the system can do that."""
    shares = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if shares else "spawn")
    if shares:
        context.set_forkserver_preload([function.__module__, "scipy.fft"])
    return ProcessPoolExecutor(min(workers, MAX_PROCESSES), context, initializer=_start_worker)


def _start_worker() -> None:
    warnings.simplefilter("ignore")
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all processes; the parent ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, which would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
