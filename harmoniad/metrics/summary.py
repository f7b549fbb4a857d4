"""A distribution of scores in bounded memory, whatever their range and however skewed they are."""

import numpy as np
from numpy.typing import NDArray

PENDING = 2**21  # scores that are collected before they are summed up
POINTS = 2**17  # a list that has grown beyond twice this is thinned to at most this

Points = tuple[NDArray[np.float32], NDArray[np.float64]]  # (n,) scores, rising, and (n,) the mass at each


class ScoreSummary:
    """The mass at and above any score, from one pass over any number of float32 scores.

    It is exact as long as there are fewer than `PENDING` scores, or at most `POINTS` different ones. Beyond that it is
    a list of scores that really occurred, each with the mass of its neighbourhood. All neighbourhoods have the same
    mass, relative to the mass at and above them: about ln(number of scores) / `POINTS`, 1.5e-4. So it does not matter
    where the scores lie and how closely, and the highest ones, which decide precision, stay apart one by one. Each
    thinning moves the mass above a threshold by less than one neighbourhood, up or down by chance. A score that
    carries much more than a neighbourhood stays, so ties stay ties.

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
        self._scores.append(scores)
        if weights is not None:
            self._weights.append(weights)
        self._pending += scores.size
        if self._pending >= PENDING:
            self._points = _thinned(_joined(self._points, _summed_up(*self._collected())))
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
        scores, weights = self._collected()
        if self._points[0].size:
            return _joined(self._points, _summed_up(scores, weights))
        return _counted(np.sort(scores)) if weights is None else _joined((scores, weights))

    def _collected(self) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        return np.concatenate(self._scores), np.concatenate(self._weights) if self._weights else None


def _summed_up(scores: NDArray[np.float32], weights: NDArray[np.float64] | None) -> Points:
    """Return few points for many scores in any order; a score may occur in more than one point."""
    if weights is not None:
        return _thinned(_joined((scores, weights)))
    scores = np.sort(scores)  # several times faster than argsort
    different = 1 + np.count_nonzero(scores[1:] != scores[:-1])
    return _counted(scores) if different <= POINTS else _thinned_by_rank(scores)


def _counted(rising: NDArray[np.float32]) -> Points:
    """Return the different ones of rising scores and how often each occurs."""
    starts = _starts(rising)
    return rising[starts], np.diff(starts, append=rising.size).astype(np.float64)


def _joined(*parts: Points) -> Points:
    """Put lists of scores, rising or not, into one of different, rising scores."""
    scores = np.concatenate([scores for scores, _ in parts])
    order = np.argsort(scores, kind="stable")  # merges what is sorted already in linear time
    scores = scores[order]
    mass = np.concatenate([mass for _, mass in parts])[order]
    starts = _starts(scores)
    return scores[starts], np.add.reduceat(mass, starts) if starts.size else mass


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


def _thinned_by_rank(rising: NDArray[np.float32]) -> Points:
    """Do as `_thinned` with many scores of mass 1 each: their ranks tell the groups."""
    upper = np.geomspace(1, rising.size, POINTS).astype(np.int64)
    upper = upper[_starts(upper)]
    lower = np.append(0, upper[:-1])
    median = rising[::-1][(lower + upper) // 2]
    return median[::-1], (upper - lower)[::-1].astype(np.float64)


def _starts(values: NDArray) -> NDArray[np.intp]:
    """Return where each run of equal values begins."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: values.size])
