import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from harmoniad.data.splits import share_by_hash

HASHES = st.lists(st.integers().map(lambda number: hashlib.sha256(str(number).encode()).hexdigest()), max_size=30)
SHARES = st.floats(0.01, 0.99)
FIRST, SECOND = slice(0, 8), slice(8, 16)


def many(count: int) -> list[str]:
    return [hashlib.sha256(bytes([number // 256, number % 256])).hexdigest() for number in range(count)]


def test_by_hand() -> None:
    hashes = ["00ff", "40ff", "80ff", "c0ff"]  # 0, 1/4, 1/2 and 3/4 in the first two digits
    assert share_by_hash(hashes, 0.3, slice(0, 2)) == {"00ff", "40ff"}
    assert share_by_hash(hashes, 0.5, slice(0, 2)) == {"00ff", "40ff"}
    assert share_by_hash(hashes, 0.51, slice(0, 2)) == {"00ff", "40ff", "80ff"}


def test_the_smallest_gives_way_if_nothing_would_be_taken() -> None:
    assert share_by_hash(["c0", "80", "a0"], 0.1, slice(0, 2)) == {"80"}


def test_the_largest_stays_if_everything_would_be_taken() -> None:
    assert share_by_hash(["10", "20", "00"], 0.5, slice(0, 2)) == {"10", "00"}


def test_a_single_image_stays() -> None:
    assert share_by_hash(["00", "00"], 0.5, slice(0, 2)) == set()
    assert share_by_hash([], 0.5, slice(0, 2)) == set()


def test_the_share_is_met_and_two_splits_are_independent() -> None:
    hashes = many(4000)
    first, second = share_by_hash(hashes, 0.25, FIRST), share_by_hash(hashes, 0.15, SECOND)
    assert abs(len(first) / 4000 - 0.25) < 0.03
    assert abs(len(second) / 4000 - 0.15) < 0.03
    assert abs(len(first & second) / 4000 - 0.25 * 0.15) < 0.015


@settings(deadline=None)
@given(HASHES, HASHES, SHARES)
def test_images_that_are_added_move_no_old_one(old: list[str], new: list[str], share: float) -> None:
    """Except for the one image that gave way, as long as its category would have been left with nothing."""
    before, after = share_by_hash(old, share, FIRST), share_by_hash(old + new, share, FIRST)
    moved = (before ^ after) & set(old)
    ordered = sorted(set(old))
    nothing_below = not ordered or int(ordered[0][:8], 16) / 16**8 >= share
    all_below = bool(ordered) and int(ordered[-1][:8], 16) / 16**8 < share
    allowed = set(ordered[:1]) if nothing_below else set(ordered[-1:]) if all_below else set()
    assert moved <= allowed


@settings(deadline=None)
@given(HASHES, SHARES, st.randoms())
def test_neither_order_nor_repetition_matters(hashes: list[str], share: float, random: object) -> None:
    shuffled = random.sample(hashes, len(hashes))  # type: ignore[attr-defined]
    assert share_by_hash(shuffled + hashes, share, FIRST) == share_by_hash(hashes, share, FIRST)


@settings(deadline=None)
@given(HASHES, SHARES)
def test_both_sides_get_an_image_if_there_are_two(hashes: list[str], share: float) -> None:
    taken = share_by_hash(hashes, share, FIRST)
    assert taken <= set(hashes)
    if len(set(hashes)) >= 2:
        assert 0 < len(taken) < len(set(hashes))
