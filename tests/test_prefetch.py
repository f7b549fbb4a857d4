import threading
import time
from itertools import count

import pytest

from harmoniad.prefetch import BATCHES_AHEAD, load_ahead


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("number", [0, 1, 4, 7])
def test_items_come_in_order_and_in_batches(workers: int, number: int) -> None:
    def load(item: int) -> int:
        time.sleep(0.002 * (item % 3))  # so that later items are ready first
        return item**2

    batches = list(load_ahead(range(number), load, batch_size=3, workers=workers))
    assert [pair for batch in batches for pair in batch] == [(item, item**2) for item in range(number)]
    assert [len(batch) for batch in batches] == [min(3, number - start) for start in range(0, number, 3)]


def test_the_next_items_load_while_the_caller_works() -> None:
    loaded = threading.Event()

    def load(item: int) -> int:
        if item == 1:
            loaded.set()
        return item

    stream = load_ahead([0, 1], load, batch_size=1, workers=1)
    next(stream)
    assert loaded.wait(60), "item 1 was not loaded before it was asked for"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_endless_stream_is_read_no_further_than_needed(workers: int) -> None:
    taken = []

    def load(item: int) -> int:
        taken.append(item)
        return item

    stream = load_ahead(count(), load, batch_size=2, workers=workers)
    next(stream)
    stream.close()
    assert len(taken) <= 2 * (BATCHES_AHEAD + 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_load_raises_is_raised_when_its_turn_comes(workers: int) -> None:
    stream = load_ahead([1, 2, 0, 3], lambda item: 1 / item, batch_size=2, workers=workers)
    assert next(stream) == [(1, 1.0), (2, 0.5)]
    with pytest.raises(ZeroDivisionError):
        next(stream)
