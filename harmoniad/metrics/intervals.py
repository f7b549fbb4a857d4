"""How sure a figure is: bootstrap confidence intervals.

They tell what other test images from the same process would do to the figure, nothing about another seed of training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoniad.errors import HarmoniadError
from harmoniad.metrics.checks import labels_and_scores
from harmoniad.metrics.verdicts import called_defective

Interval = tuple[float, float]

DRAWS_AT_ONCE = 2**20


@dataclass(frozen=True)
class Estimate:
    """A figure, such as by how much one model is better, and between which ends the true one is likely to lie."""

    estimate: float
    low: float
    high: float


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


def auroc_difference(
    categories: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate | None:
    """Paired percentile bootstrap of the difference in mean AUROC of two models that scored the same items.

    Each resample draws items once and looks at the scores that both models gave them, so what makes an item hard for
    both cancels out. Categories, and in each the defective and the normal items, are drawn apart, each as many as are.

    Args:
        categories: for each, the labels (n,), true where the item is defective, the scores (n,) of the first model and
            those of the second.
        confidence: the share of such intervals that are to hold the true value.
        resamples: how many data sets are drawn.
        seed: decides the draws; the same seed gives the same interval.

    Returns:
        The second model's mean AUROC minus the first one's, over the categories that hold defective and normal items;
        None without such a category.

    Raises:
        HarmoniadError: the shapes differ, a score is NaN or infinite, or an option is out of range.
    """
    _check(confidence, resamples)
    generator = np.random.default_rng(seed)
    estimates, drawn = [], np.zeros(resamples)
    for _, (labels, first, second) in sorted(categories.items()):
        defective, before = labels_and_scores(labels, first)
        _, now = labels_and_scores(labels, second)
        if defective.all() or not defective.any():
            continue
        items = [np.flatnonzero(defective), np.flatnonzero(~defective)]
        levels = [np.unique(values, return_inverse=True)[1] for values in (before, now)]
        whole = [_areas(*(_counts(level[group][None], level.max() + 1) for group in items)) for level in levels]
        estimates.append(float(whole[1][0] - whole[0][0]))
        at_once = max(1, DRAWS_AT_ONCE // before.size)
        for start in range(0, resamples, at_once):
            count = min(at_once, resamples - start)
            picks = [group[generator.integers(group.size, size=(count, group.size))] for group in items]
            areas = [_areas(*(_counts(level[pick], level.max() + 1) for pick in picks)) for level in levels]
            drawn[start : start + count] += areas[1] - areas[0]
    if not estimates:
        return None
    return Estimate(float(np.mean(estimates)), *_percentiles(drawn / len(estimates), confidence))


def mean_auroc_interval(
    categories: Mapping[str, tuple[ArrayLike, Sequence[ArrayLike]]],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate | None:
    """Percentile bootstrap of the AUROC's mean over categories and over models that differ in their seed alone.

    Each resample draws images once, for all models: the interval is about other images, not about other seeds.
    Categories, and in each the defective and the normal items, are drawn apart, each as many as are.

    Args:
        categories: for each, the labels (n,), true where the item is defective, and the scores (n,) of each model.
        confidence: the share of such intervals that are to hold the true value.
        resamples: how many data sets are drawn.
        seed: decides the draws; the same seed gives the same interval.

    Returns:
        The mean AUROC and its ends; None if no category holds defective and normal items. Where no pair of any category
        is in the wrong order, the lower end is the exact binomial one of as many disjoint pairs, as in
        `auroc_interval`.

    Raises:
        HarmoniadError: the shapes differ, a score is NaN or infinite, or an option is out of range.
    """
    _check(confidence, resamples)
    generator = np.random.default_rng(seed)
    estimates: list[float] = []
    drawn, pairs = np.zeros(resamples), 0
    for _, (labels, models) in sorted(categories.items()):
        defective, _ = labels_and_scores(labels, models[0])
        if defective.all() or not defective.any():
            continue
        items = [np.flatnonzero(defective), np.flatnonzero(~defective)]
        pairs += min(group.size for group in items)
        levels = [np.unique(labels_and_scores(labels, scores)[1], return_inverse=True)[1] for scores in models]
        estimates += [
            float(_areas(*(_counts(level[group][None], level.max() + 1) for group in items))[0]) for level in levels
        ]
        at_once = max(1, DRAWS_AT_ONCE // defective.size)
        for start in range(0, resamples, at_once):
            count = min(at_once, resamples - start)
            picks = [group[generator.integers(group.size, size=(count, group.size))] for group in items]
            for level in levels:
                drawn[start : start + count] += _areas(*(_counts(level[pick], level.max() + 1) for pick in picks))
    if not estimates:
        return None
    if min(estimates) == 1:
        return Estimate(1.0, _all_of(pairs, confidence), 1.0)
    return Estimate(float(np.mean(estimates)), *_percentiles(drawn / len(estimates), confidence))


def _check(confidence: float, resamples: int) -> None:
    if not 0 < confidence < 1:
        raise HarmoniadError(f"confidence must be between 0 and 1, not {confidence}")
    if resamples < 1:
        raise HarmoniadError(f"resamples must be at least 1, not {resamples}")


def _drawn(items: NDArray[np.intp], count: int, levels: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """How often each level occurs (count, levels) when as many items as there are get drawn with replacement."""
    return _counts(items[generator.integers(items.size, size=(count, items.size))], levels)


def _counts(drawn: NDArray[np.intp], levels: int) -> NDArray[np.intp]:
    """How often each level occurs in each row (count, n) of drawn levels: (count, levels)."""
    count = len(drawn)
    places = drawn + levels * np.arange(count)[:, None]
    return np.bincount(places.ravel(), minlength=count * levels).reshape(count, levels)


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
