"""Exact metrics of labels and scores, and the curves that every metric here is read from.

Ties are handled as scikit-learn does: equal scores pass a threshold together. A metric that is not defined is None.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoniad.metrics.checks import labels_and_scores

Floats = NDArray[np.float64]


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


def overlap_area(overlap: Floats, false_positives: Floats, fpr_limit: float) -> float | None:
    """AUPRO from the summed overlap of all regions and the count of false positives (m,) at falling thresholds."""
    if _total(overlap) == 0 or _total(false_positives) == 0:
        return None
    mean_overlap = np.append(0.0, overlap / overlap[-1])
    false_positive_rate = np.append(0.0, false_positives / false_positives[-1])
    inside = np.searchsorted(false_positive_rate, fpr_limit, side="right")
    at_limit = np.interp(fpr_limit, false_positive_rate[inside - 1 : inside + 1], mean_overlap[inside - 1 : inside + 1])
    area = np.trapezoid(np.append(mean_overlap[:inside], at_limit), np.append(false_positive_rate[:inside], fpr_limit))
    return float(area / fpr_limit)


def _total(sums: Floats) -> float:
    return float(sums[-1]) if sums.size else 0.0
