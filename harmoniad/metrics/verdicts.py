"""What the line will see: verdicts at a threshold that was set beforehand, not chosen on these scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoniad.errors import HarmoniadError
from harmoniad.metrics.checks import finite_scores, labels_and_scores

AREAS = {"tiny": 0.001, "small": 0.01, "large": float("inf")}
"""Upper bounds of a defect's area as a share of its image."""


@dataclass(frozen=True)
class Rates:
    """Shares in [0, 1]; None where there is nothing to take a share of.

    Attributes:
        recall: Defective items that are flagged.
        false_positive_rate: Normal items that are flagged.
        balanced_accuracy: Mean of the recall and of the share of normal items that pass.
    """

    recall: float | None
    false_positive_rate: float | None
    balanced_accuracy: float | None


def rates_at(labels: ArrayLike, scores: ArrayLike, threshold: ArrayLike) -> Rates:
    """Rates of the verdicts at a threshold; an item is flagged at `score > threshold`, as on the line.

    Args:
        labels: (n,), true where the item is defective.
        scores: (n,), raw anomaly scores, higher is more anomalous.
        threshold: one for all items, or (n,) where each has its own, such as that of its category.

    Raises:
        HarmoniadError: the shapes differ, or a score or a threshold is NaN or infinite.
    """
    defective, called = called_defective(labels, scores, threshold)
    recall = _share(called[defective])
    false_positive_rate = _share(called[~defective])
    if recall is None or false_positive_rate is None:
        return Rates(recall, false_positive_rate, None)
    return Rates(recall, false_positive_rate, (recall + 1 - false_positive_rate) / 2)


def recall_at_rate(labels: ArrayLike, scores: ArrayLike, false_positive_rate: float) -> float | None:
    """Recall at the lowest threshold that flags no larger share of the normal items than `false_positive_rate`.

    With the same rate for both, two models are compared however their thresholds were set.

    Args:
        labels: (n,), true where the item is defective.
        scores: (n,), raw anomaly scores, higher is more anomalous.
        false_positive_rate: between 0 and 1.

    Returns:
        The recall, None without a defective or without a normal item.

    Raises:
        HarmoniadError: the shapes differ, a score is NaN or infinite, or the rate is out of range.
    """
    if not 0 <= false_positive_rate < 1:
        raise HarmoniadError(f"the false positive rate must be at least 0 and below 1, not {false_positive_rate}")
    defective, values = labels_and_scores(labels, scores)
    if defective.all() or not defective.any():
        return None
    threshold = np.quantile(values[~defective], 1 - false_positive_rate, method="inverted_cdf")
    return float(np.mean(values[defective] > threshold))


def recall_by_area(shares: ArrayLike, scores: ArrayLike, threshold: ArrayLike) -> dict[str, tuple[int, int]]:
    """How many defect images of each size are flagged, at `score > threshold`.

    Args:
        shares: (n,), the area of each image's defects as a share of the image, above 0.
        scores: (n,), raw anomaly scores of the same images.
        threshold: one for all images, or (n,).

    Returns:
        For each name in `AREAS`: how many are flagged, and how many there are.

    Raises:
        HarmoniadError: the shapes differ, or a value is NaN, infinite or no area.
    """
    areas = finite_scores(shares, "the areas").ravel()
    if np.any(areas <= 0):
        raise HarmoniadError("the areas must be above 0: only images with a marked defect have a size")
    _, called = called_defective(np.ones(areas.shape, bool), np.ravel(scores), threshold)
    found, lower = {}, 0.0
    for name, upper in AREAS.items():
        within = (areas >= lower) & (areas < upper)
        found[name] = (int(np.count_nonzero(called & within)), int(np.count_nonzero(within)))
        lower = upper
    return found


def called_defective(
    labels: ArrayLike, scores: ArrayLike, threshold: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which items (n,) are defective, and which are flagged at `score > threshold`.

    Raises:
        HarmoniadError: the shapes differ, or a score or a threshold is NaN or infinite.
    """
    defective, values = labels_and_scores(labels, scores)
    limit = finite_scores(threshold, "the threshold")
    if limit.size not in (1, values.size):
        raise HarmoniadError(f"{values.size} scores need one threshold or {values.size}, not {limit.size}")
    return defective, values > limit.ravel()


def _share(values: NDArray[np.bool_]) -> float | None:
    return float(np.mean(values)) if values.size else None
