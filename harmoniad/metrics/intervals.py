"""How sure a figure is: bootstrap confidence intervals.

They tell what other test images from the same process would do to the figure, nothing about another seed of training.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoniad.errors import HarmoniadError
from harmoniad.metrics.checks import labels_and_scores
from harmoniad.metrics.verdicts import called_defective

Interval = tuple[float, float]

DRAWS_AT_ONCE = 2**20


def auroc_interval(
    labels: ArrayLike, scores: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap of the AUROC, stratified: defective and normal items are drawn apart, each as many as are.

    Where no pair of a defective and a normal item is in the wrong order (or all are), every resample says the same and
    the bootstrap is blind. Then the end away from the limit is the exact binomial one (Clopper and Pearson 1934) of k
    successes in k trials, k disjoint pairs that can be formed: safe, and rather wide.

    Args:
        labels: (n,), true where the item is defective.
        scores: (n,), raw anomaly scores, higher is more anomalous.
        confidence: the share of such intervals that are to hold the true value.
        resamples: how many data sets are drawn.
        seed: decides the draws; the same seed gives the same interval.

    Returns:
        The lower and the upper end, or None without a defective or without a normal item.

    Raises:
        HarmoniadError: the shapes differ, a score is NaN or infinite, or an option is out of range.
    """
    _check(confidence, resamples)
    defective, values = labels_and_scores(labels, scores)
    if defective.all() or not defective.any():
        return None
    levels, level = np.unique(values, return_inverse=True)
    positive, negative = level[defective], level[~defective]
    pairs = min(positive.size, negative.size)
    if positive.min() > negative.max():
        return _all_of(pairs, confidence), 1.0
    if positive.max() < negative.min():
        return 0.0, 1 - _all_of(pairs, confidence)
    generator = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // values.size)
    areas = []
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = [_drawn(items, count, levels.size, generator) for items in (positive, negative)]
        areas.append(_areas(*drawn))
    return _percentiles(np.concatenate(areas), confidence)


def recall_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap of the recall at a threshold that was set beforehand (flagged at `score > threshold`).

    Where all defective items are found, or none is, every resample says the same; then the other end is the exact
    binomial one (Clopper and Pearson 1934).

    Args:
        labels: (n,), true where the item is defective; only these matter.
        scores: (n,), raw anomaly scores, higher is more anomalous.
        threshold: one for all items, or (n,).
        confidence: the share of such intervals that are to hold the true value.
        resamples: how many data sets are drawn.
        seed: decides the draws; the same seed gives the same interval.

    Returns:
        The lower and the upper end, or None without a defective item.

    Raises:
        HarmoniadError: the shapes differ, a value is NaN or infinite, or an option is out of range.
    """
    _check(confidence, resamples)
    defective, called = called_defective(labels, scores, threshold)
    found = called[defective]
    if not found.size:
        return None
    if found.all():
        return _all_of(found.size, confidence), 1.0
    if not found.any():
        return 0.0, 1 - _all_of(found.size, confidence)
    # How many of `found` are true in a draw with replacement is binomial: the bootstrap without drawing each item.
    draws = np.random.default_rng(seed).binomial(found.size, found.mean(), resamples)
    return _percentiles(draws / found.size, confidence)


def _check(confidence: float, resamples: int) -> None:
    if not 0 < confidence < 1:
        raise HarmoniadError(f"confidence must be between 0 and 1, not {confidence}")
    if resamples < 1:
        raise HarmoniadError(f"resamples must be at least 1, not {resamples}")


def _drawn(items: NDArray[np.intp], count: int, levels: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """How often each level occurs (count, levels) when as many items as there are get drawn with replacement."""
    drawn = items[generator.integers(items.size, size=(count, items.size))]
    drawn += levels * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * levels).reshape(count, levels)


def _areas(positive: NDArray[np.intp], negative: NDArray[np.intp]) -> NDArray[np.float64]:
    """AUROC of each row: the share of pairs in the right order, a tie counting half."""
    below = np.cumsum(negative, axis=1) - negative / 2
    return np.einsum("ij,ij->i", positive, below) / (positive.sum(1) * negative.sum(1))


def _percentiles(values: NDArray[np.float64], confidence: float) -> Interval:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _all_of(trials: int, confidence: float) -> float:
    """Lower end for the rate of successes when all of the trials succeeded."""
    return float(((1 - confidence) / 2) ** (1 / trials))
