import os
import threading
import time
import warnings

import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.pool import in_parallel


def square(number: int) -> int:
    warnings.warn("not shown", stacklevel=1)
    time.sleep(0.001 * (number % 3))  # later ones may be ready earlier
    return number**2


def refuse(number: int) -> int:
    if number == 5:
        raise HarmoniadError("five")
    return number


def process_of(number: int) -> int:
    return os.getpid()


def die(number: int) -> int:
    os._exit(1)


def test_threads_keep_the_order_and_are_silent() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert list(in_parallel(square, range(300))) == [number**2 for number in range(300)]
    assert not told
    assert list(in_parallel(square, [])) == []


def test_an_error_ends_the_threads() -> None:
    before = set(threading.enumerate())
    with pytest.raises(HarmoniadError, match="five"):
        list(in_parallel(refuse, range(1000)))
    assert not new_threads_of_pools(before)


def test_a_caller_that_stops_early_ends_the_threads() -> None:
    before = set(threading.enumerate())
    results = in_parallel(square, range(1000))
    next(results)
    assert new_threads_of_pools(before)
    results.close()
    assert not new_threads_of_pools(before)


def new_threads_of_pools(before: set[threading.Thread]) -> list[threading.Thread]:
    """Other tests' libraries may have left some of their own."""
    return [thread for thread in threading.enumerate() if "ThreadPool" in thread.name and thread not in before]


def test_many_items_are_shared_among_processes() -> None:
    processes = list(in_parallel(process_of, range(400), processes_from=400))
    assert len(processes) == 400
    assert os.getpid() not in processes
    assert list(in_parallel(square, range(50), processes_from=10)) == [number**2 for number in range(50)]


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(
        HarmoniadError, match=r"^a worker process was ended from outside, .* Run the same command again"
    ):
        list(in_parallel(die, range(4), processes_from=1))
