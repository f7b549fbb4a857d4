"""Exact metrics of labels and scores, and the curves that every metric here is read from.

Ties are handled as scikit-learn does: equal scores pass a threshold together. A metric that is not defined is None.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoniad.metrics.checks import labels_and_scores

Floats = NDArray[np.float64]

OFFICIAL_THRESHOLDS = 100  # of MVTec's own code


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve.

    Args:
        labels: true where the item is defective, any shape.
        scores: raw anomaly scores of the same shape, higher is more anomalous.

    Returns:
        A number in [0, 1], or None without a defective or without a normal item.

    Raises:
        HarmoniadError: the shapes differ or a score is NaN or infinite.
    """
    _, true_positives, false_positives = _curve(labels, scores)
    return roc_area(true_positives, false_positives)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Average precision: the sum of precision times gain in recall over all thresholds, without interpolation.

    Arguments and errors as for `auroc`; None without a defective item.
    """
    _, true_positives, false_positives = _curve(labels, scores)
    return precision_area(true_positives, false_positives)


def f1_max(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float] | None:
    """Best F1 score over all thresholds.

    Arguments and errors as for `auroc`.

    Returns:
        The F1 score and the highest threshold that reaches it (an item is called defective at `score >= threshold`),
        or None without a defective item.
    """
    return best_f1(*_curve(labels, scores))


def _curve(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.floating], Floats, Floats]:
    positive, values = labels_and_scores(labels, scores)
    thresholds, (true_positives, false_positives) = accumulate(values, np.stack([positive, ~positive]))
    return thresholds, true_positives, false_positives


def accumulate(scores: NDArray[np.floating], masses: NDArray) -> tuple[NDArray[np.floating], Floats]:
    """Sum what lies at or above each threshold.

    Args:
        scores: (n,), in any order.
        masses: (k, n), k quantities that belong to each score, such as "is defective" and "is normal".

    Returns:
        The m different scores from high to low, and the sums (k, m) of the masses with at least that score.
    """
    order = np.argsort(scores, kind="stable")[::-1]
    descending = scores[order]
    last_of_tie = np.flatnonzero(np.append(descending[1:] != descending[:-1], True)[: descending.size])
    sums = np.stack([np.cumsum(row[order], dtype=np.float64)[last_of_tie] for row in masses])
    return descending[last_of_tie], sums


def roc_area(true_positives: Floats, false_positives: Floats) -> float | None:
    """AUROC from the counts (m,) at falling thresholds."""
    if _total(true_positives) == 0 or _total(false_positives) == 0:
        return None
    recall = np.append(0.0, true_positives / true_positives[-1])
    false_positive_rate = np.append(0.0, false_positives / false_positives[-1])
    return float(np.trapezoid(recall, false_positive_rate))


def precision_area(true_positives: Floats, false_positives: Floats) -> float | None:
    """Average precision from the counts (m,) at falling thresholds."""
    if _total(true_positives) == 0:
        return None
    precision = true_positives / (true_positives + false_positives)
    return float(np.sum(np.diff(true_positives, prepend=0.0) * precision) / true_positives[-1])


def best_f1(
    thresholds: NDArray[np.floating], true_positives: Floats, false_positives: Floats
) -> tuple[float, float] | None:
    """Best F1 and its threshold from the counts (m,) at falling thresholds (m,)."""
    if _total(true_positives) == 0:
        return None
    f1 = 2 * true_positives / (true_positives[-1] + true_positives + false_positives)
    best = int(np.argmax(f1))
    return float(f1[best]), float(thresholds[best])


def overlap_area(
    overlap: Floats, false_positives: Floats, fpr_limit: float, regions: float | None = None
) -> float | None:
    """AUPRO from the summed overlap of all regions and the count of false positives (m,) at falling thresholds.

    Args:
        overlap: the sum over all regions.
        false_positives: how many defect-free pixels.
        fpr_limit: where the integral ends.
        regions: how many there are; by default the last sum, as each region is covered in full at the last threshold.
    """
    if _total(overlap) == 0 or _total(false_positives) == 0:
        return None
    mean_overlap = np.append(0.0, overlap / (overlap[-1] if regions is None else regions))
    false_positive_rate = np.append(0.0, false_positives / false_positives[-1])
    return _area_up_to(fpr_limit, false_positive_rate, mean_overlap)


def sampled_overlap_area(overlap: Floats, false_positives: Floats, fpr_limit: float) -> float | None:
    """AUPRO as MVTec's code samples it, from the same sums as `overlap_area`; `pro.aupro` tells the difference."""
    if _total(overlap) == 0 or _total(false_positives) == 0:
        return None
    normal = round(false_positives[-1])
    above = normal - 1 - np.linspace(0, normal - 1, num=OFFICIAL_THRESHOLDS, dtype=np.int64)[::-1]
    threshold = np.searchsorted(false_positives, above + 0.5)  # the one that the next lower normal score passes
    mean_overlap = np.append(0.0, overlap / overlap[-1])[threshold]
    return _area_up_to(fpr_limit, np.append(above / normal, 1.0), np.append(mean_overlap, 1.0))


def _area_up_to(limit: float, x: Floats, y: Floats) -> float:
    """Area under a curve of rising x from 0 to the limit, interpolated there, as a share of the limit."""
    inside = np.searchsorted(x, limit, side="right")
    at_limit = np.interp(limit, x[inside - 1 : inside + 1], y[inside - 1 : inside + 1])
    return float(np.trapezoid(np.append(y[:inside], at_limit), np.append(x[:inside], limit)) / limit)


def log_area(rate: Floats, recall: Floats, bounds: tuple[float, float]) -> float:
    """Mean recall over the logarithm of a rate (m,), rising from 0 or more, between two bounds.

    The curve is linear in the logarithm; below the lowest rate above zero it is what it is at a rate of zero.
    """
    some = int(np.searchsorted(rate, 0.0, side="right"))
    at_zero = recall[some - 1] if some else 0.0
    low, high = np.log(bounds)
    x = np.log(rate[some:])
    x = np.concatenate([[-np.inf], x[:1], x])
    y = np.concatenate([[at_zero, at_zero], recall[some:]])
    start, end = np.searchsorted(x, low, side="right"), np.searchsorted(x, high, side="left")
    inside = slice(start, end)
    x, y = (
        np.concatenate([[low], x[inside], [high]]),
        np.concatenate([[_between(x, y, start, low)], y[inside], [_between(x, y, end, high)]]),
    )
    return min(1.0, float(np.trapezoid(y, x) / (high - low)))  # not above 1 by rounding


def _between(x: Floats, y: Floats, after: int, place: float) -> float:
    """The curve at a place between the points before and at `after`."""
    if after == x.size:
        return float(y[-1])
    if not np.isfinite(x[after - 1]):
        return float(y[after - 1])
    return float(np.interp(place, x[after - 1 : after + 1], y[after - 1 : after + 1]))


def _total(sums: Floats) -> float:
    return float(sums[-1]) if sums.size else 0.0
