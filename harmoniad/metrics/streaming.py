"""Metrics that are fed image by image: they hold a summary of the scores, never the maps."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoniad.errors import HarmoniadError
from harmoniad.metrics.checks import check_other, finite_scores, mask_and_map, yes_or_no
from harmoniad.metrics.curves import (
    Floats,
    accumulate,
    auroc,
    average_precision,
    best_f1,
    f1_max,
    overlap_area,
    precision_area,
    roc_area,
)
from harmoniad.metrics.pro import check_limit, region_weights
from harmoniad.metrics.summary import ScoreSummary


class PixelMetrics:
    """Pixel AUROC, AP, F1-max and AUPRO in one pass and in constant memory.

    Exact below two million pixels; beyond, each metric is within 1e-4 of the exact one (`ScoreSummary` tells why), and
    so it is for another order of the images or after merging. The same images in the same order give the same bytes.
    """

    def __init__(self, fpr_limit: float = 0.3) -> None:
        check_limit(fpr_limit)
        self.fpr_limit = fpr_limit
        self._normal = ScoreSummary()
        self._defective = ScoreSummary()
        self._overlap = ScoreSummary()

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._normal.nbytes + self._defective.nbytes + self._overlap.nbytes

    def update(self, mask: ArrayLike, anomaly_map: ArrayLike, name: str | None = None) -> None:
        """Add an image.

        Args:
            mask: (H, W), true (or not zero) on a defect; all false for a good image.
            anomaly_map: (H, W), raw scores, higher is more anomalous; taken as float32.
            name: what an error message calls the image.

        Raises:
            HarmoniadError: the shapes differ or a score is NaN or infinite; nothing is added then.
        """
        defective, scores = mask_and_map(mask, anomaly_map, name, np.float32)
        self._normal.add(scores[~defective])
        if defective.any():
            self._defective.add(scores[defective])
            self._overlap.add(scores[defective], region_weights(defective)[defective])

    def merge(self, other: "PixelMetrics") -> None:
        """Add what another accumulator has seen; the other stays as it is.

        Raises:
            HarmoniadError: its `fpr_limit` differs, or it is the same object.
        """
        check_other(self, other)
        if other.fpr_limit != self.fpr_limit:
            raise HarmoniadError(f"cannot merge metrics of fpr_limit {self.fpr_limit} and {other.fpr_limit}")
        self._normal.merge(other._normal)
        self._defective.merge(other._defective)
        self._overlap.merge(other._overlap)

    def compute(self) -> dict[str, float | None]:
        """Return pixel_auroc, pixel_ap, pixel_f1max, pixel_f1max_threshold and aupro; None where not defined."""
        thresholds, true_positives, false_positives, overlap = self._accumulated()
        f1, threshold = best_f1(thresholds, true_positives, false_positives) or (None, None)
        return {
            "pixel_auroc": roc_area(true_positives, false_positives),
            "pixel_ap": precision_area(true_positives, false_positives),
            "pixel_f1max": f1,
            "pixel_f1max_threshold": threshold,
            "aupro": overlap_area(overlap, false_positives, self.fpr_limit),
        }

    def pro_curve(self, points: int = 200) -> tuple[Floats, Floats] | None:
        """The curve whose area is AUPRO, at so many false positive rates from 0 to `fpr_limit`, denser near 0.

        Returns:
            False positive rates and mean overlaps, (points,) each, or None where AUPRO is not defined.
        """
        _, _, false_positives, overlap = self._accumulated()
        if overlap_area(overlap, false_positives, self.fpr_limit) is None:
            return None
        rates = self.fpr_limit * np.linspace(0, 1, points) ** 2
        return rates, np.interp(rates, false_positives / false_positives[-1], overlap / overlap[-1])

    def _accumulated(self) -> tuple[NDArray[np.floating], Floats, Floats, Floats]:
        """Falling thresholds, and the mass of defective pixels, normal pixels and overlap at or above each."""
        parts = [self._defective.points(), self._normal.points(), self._overlap.points()]
        scores = np.concatenate([scores for scores, _ in parts])
        masses = np.zeros((len(parts), scores.size))
        start = 0
        for row, (_, mass) in zip(masses, parts, strict=True):
            row[start : start + mass.size] = mass
            start += mass.size
        thresholds, (true_positives, false_positives, overlap) = accumulate(scores, masses)
        return thresholds, true_positives, false_positives, overlap


class ImageMetrics:
    """Image AUROC, AP and F1-max, exact; holds one score an image."""

    def __init__(self) -> None:
        self._labels: list[bool] = []
        self._scores: list[float] = []

    def update(self, label: bool | int, score: float, name: str | None = None) -> None:
        """Add an image.

        Args:
            label: true if it has a defect.
            score: raw anomaly score, higher is more anomalous.
            name: what an error message calls the image.

        Raises:
            HarmoniadError: the score is NaN or infinite, or one of both is not a single value.
        """
        prefix = f"{name}: " if name else ""
        defective = yes_or_no(label, f"{prefix}the label")
        value = finite_scores(score, f"{prefix}the image score")
        if defective.size != 1 or value.size != 1:
            raise HarmoniadError(f"{prefix}an image has one label and one score, not {defective.size} and {value.size}")
        self._labels.append(bool(defective.item()))
        self._scores.append(float(value.item()))

    def merge(self, other: "ImageMetrics") -> None:
        """Add what another accumulator has seen; the other stays as it is.

        Raises:
            HarmoniadError: it is the same object.
        """
        check_other(self, other)
        self._labels.extend(other._labels)
        self._scores.extend(other._scores)

    def compute(self) -> dict[str, float | None]:
        """Return image_auroc, image_ap, image_f1max and image_f1max_threshold; None where not defined."""
        labels, scores = np.array(self._labels, bool), np.array(self._scores)
        f1, threshold = f1_max(labels, scores) or (None, None)
        return {
            "image_auroc": auroc(labels, scores),
            "image_ap": average_precision(labels, scores),
            "image_f1max": f1,
            "image_f1max_threshold": threshold,
        }
