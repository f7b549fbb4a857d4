"""A distribution of scores in bounded memory, whatever their range and however skewed they are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PENDING = 2**22  # scores that are collected before they are summed up; with weights a quarter of it
EXACT = 2**20  # so many scores are never summed up
POINTS = 2**16  # a list that has grown beyond twice this is thinned to at most this
CELL_BITS = 19  # 2**19 cells are counted at once, which fit a processor's cache
BLOCK = 2**20  # and so do the temporary arrays of so many scores
FEW = 2**12  # so many different scores are told apart for certain

Points = tuple[NDArray[np.float32], NDArray[np.float64]]  # (n,) scores, rising, and (n,) the mass at each


class ScoreSummary:
    """The mass at and above any score, from one pass over any number of float32 scores.

    It is exact as long as there are at most `EXACT` scores, or at most `FEW` different ones. Beyond that it is a
    list of scores, each with the mass of its neighbourhood. All neighbourhoods have the same mass, relative to the mass
    at and above them: about ln(number of scores) / `POINTS`, 3e-4. So it does not matter where the scores lie and how
    closely, and the highest ones, which decide precision, stay apart one by one. Each thinning moves the mass above a
    threshold by less than one neighbourhood, up or down by chance. A score that carries much more than a neighbourhood
    stays, so ties stay ties.

    Scores near zero, logits, saturated probabilities and a narrow band around a large number all cost the same; bins of
    fixed places or widths would fail on one or the other.
    """

    def __init__(self) -> None:
        self._points: Points = (np.empty(0, np.float32), np.empty(0))
        self._scores: list[NDArray[np.float32]] = []
        self._weights: list[NDArray[np.float64]] = []
        self._pending = 0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        arrays: list[NDArray] = [*self._points, *self._scores, *self._weights]
        return sum(array.nbytes for array in arrays)

    def add(self, scores: NDArray[np.float32], weights: NDArray[np.float64] | None = None) -> None:
        """Add finite scores (n,) and their weights (n,), for all calls or for none; both are kept, so give copies."""
        if not scores.size:
            return
        self._scores.append(scores)
        if weights is not None:
            self._weights.append(weights)
        self._pending += scores.size
        if self._pending >= (PENDING // 4 if self._weights else PENDING):
            self._points = self._summed_up()
            self._scores, self._weights, self._pending = [], [], 0

    def merge(self, other: "ScoreSummary") -> None:
        """Add what another summary has seen; it must not be the same object."""
        self._points = _thinned(_joined(self._points, other._points))
        for index, scores in enumerate(other._scores):
            self.add(scores, other._weights[index] if other._weights else None)

    def points(self) -> Points:
        """Return the different scores (n,), rising, and the mass (n,) at each."""
        if not self._pending:
            return self._points
        if self._points[0].size or self._pending > EXACT:
            return self._summed_up()
        scores, weights = self._collected()
        return _counted(np.sort(scores)) if weights is None else _joined((scores, weights))

    def _summed_up(self) -> Points:
        return _thinned(_joined(self._points, _thinned(_joined(*_in_cells(*self._collected())))))

    def _collected(self) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        return np.concatenate(self._scores), np.concatenate(self._weights) if self._weights else None


def side_by_side(lists: Sequence[Points]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return all scores (n,), and for each list its mass (k, n) at its own scores and 0 at those of the others."""
    scores = np.concatenate([scores for scores, _ in lists])
    masses = np.zeros((len(lists), scores.size))
    start = 0
    for row, (_, mass) in zip(masses, lists, strict=True):
        row[start : start + mass.size] = mass
        start += mass.size
    return scores, masses


def _in_cells(scores: NDArray[np.float32], weights: NDArray[np.float64] | None) -> list[Points]:
    """Return the mass in each of many cells, narrow enough for `_thinned` not to notice; no sorting is needed for it.

    A cell is a range of neighbouring floating point numbers, so it is the narrower the nearer to zero it lies. Where a
    cell holds more than a neighbourhood (see `ScoreSummary`), it is split into finer ones, down to single numbers if
    need be. So each score ends in a cell that is light or that is a single number.
    """
    keys = _keys(scores)
    first, last = int(keys.min()), int(keys.max())
    bits = min(CELL_BITS, 1 + keys.size.bit_length())
    shift = max(0, (last - first).bit_length() - bits)
    index = (keys >> shift) - np.int32(first >> shift)
    parents, heavier = np.array([first >> shift]), np.zeros(1)  # what the cells are part of, and the mass above it
    bits = 0
    found = []
    while True:
        mass = _sums(index, weights)
        occupied = np.flatnonzero(mass)
        mass = mass[occupied]
        parent = occupied >> bits if bits else 0
        cells = (parents[parent] << bits) + occupied - (parent << bits)
        at_least = heavier[parent] + np.cumsum(mass[::-1])[::-1]
        split = mass > at_least * (16 / POINTS) if occupied.size > FEW else np.ones(occupied.size, bool)
        if not shift or not split.any():
            break
        found.append(_of_cells(cells[~split], mass[~split], shift, last))
        is_split = np.zeros(occupied[-1] + 1, bool)
        is_split[occupied[split]] = True
        chosen = np.flatnonzero(is_split[index])
        rank = np.cumsum(is_split, dtype=np.int32) - 1
        keys, parent_of_score = keys[chosen], rank[index[chosen]]
        weights = None if weights is None else weights[chosen]
        parents = cells[split]
        # Of the sum over all finer cells, what lies in heavier parents is taken off again: it is in `heavier` already.
        split_mass = mass[split]
        heavier = at_least[split] - np.cumsum(split_mass[::-1])[::-1]
        room = min(CELL_BITS, 2 + keys.size.bit_length()) - (parents.size - 1).bit_length()
        bits = min(shift, max(1, room))
        shift -= bits
        index = (keys >> shift) & np.int32((1 << bits) - 1)
        index += parent_of_score << bits
    return [*found, _of_cells(cells, mass, shift, last)]


def _sums(index: NDArray[np.integer], weights: NDArray[np.float64] | None) -> NDArray:
    """Return the sum of the weights, or how many there are, for each index."""
    if index.size <= BLOCK:
        return np.bincount(index, weights)
    sums = np.zeros(int(index.max()) + 1, np.int64 if weights is None else np.float64)
    for start in range(0, index.size, BLOCK):
        block = slice(start, start + BLOCK)
        sums += np.bincount(index[block], None if weights is None else weights[block], sums.size)
    return sums


def _keys(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return integers that are ordered as the scores are; neighbouring numbers have neighbouring keys."""
    bits = (scores + np.float32(0)).view(np.int32)  # -0 becomes 0
    flip = bits >> 31
    flip &= np.int32(0x7FFFFFFF)
    bits ^= flip
    return bits


def _of_cells(cells: NDArray[np.int64], mass: NDArray, shift: int, last: int) -> Points:
    """Return cells as points: the number in the middle of each, or the only one."""
    keys = np.minimum((cells << shift) + ((1 << shift) >> 1), last).astype(np.int32)
    return (keys ^ ((keys >> 31) & np.int32(0x7FFFFFFF))).view(np.float32), mass.astype(np.float64)


def _counted(rising: NDArray[np.float32]) -> Points:
    """Return the different ones of rising scores and how often each occurs."""
    starts = _starts(rising)
    return rising[starts], np.diff(starts, append=rising.size).astype(np.float64)


def _joined(*parts: Points) -> Points:
    """Put lists of scores, rising or not, into one of different, rising scores."""
    parts = tuple(part for part in parts if part[0].size) or parts[:1]
    scores = np.concatenate([scores for scores, _ in parts])
    mass = np.concatenate([mass for _, mass in parts])
    if len(parts) > 1 or np.any(scores[1:] < scores[:-1]):
        order = np.argsort(scores, kind="stable")  # merges what is sorted already in linear time
        scores, mass = scores[order], mass[order]
    starts = _starts(scores)
    if starts.size == scores.size:
        return scores, mass
    return scores[starts], np.add.reduceat(mass, starts)


def _thinned(points: Points) -> Points:
    """Reduce too many points to at most `POINTS`, each of the same share of the mass at and above it.

    A point belongs to the group that its centre of mass falls into. A group is stood for by its median, so a score with
    most of the mass of its group stays. Both treat up and down alike: an error that had a sign would add up.
    """
    if points[0].size <= 2 * POINTS:
        return points
    scores, mass = points[0][::-1], points[1][::-1]
    above = np.cumsum(mass)
    centre = above - mass / 2
    end = np.searchsorted(centre, np.geomspace(centre[0], centre[-1], POINTS), side="right")
    upper = above[end[_starts(end)] - 1]
    lower = np.append(0.0, upper[:-1])
    median = np.searchsorted(above, (lower + upper) / 2)
    return scores[median][::-1], (upper - lower)[::-1]


def _starts(values: NDArray) -> NDArray[np.intp]:
    """Return where each run of equal values begins."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: values.size])
