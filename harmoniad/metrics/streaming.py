"""Metrics that are fed image by image: they hold a summary of the scores, never the maps."""

from array import array

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
    precision_area,
    roc_area,
)
from harmoniad.metrics.intervals import auroc_interval, recall_interval
from harmoniad.metrics.pimo import pimo_area
from harmoniad.metrics.pro import Variant, area_of, check_limit, region_weights
from harmoniad.metrics.summary import ScoreSummary, side_by_side
from harmoniad.metrics.verdicts import rates_at, recall_by_area


class PixelMetrics:
    """Pixel AUROC, AP, F1-max, AUPRO and AUPIMO in one pass and in constant memory.

    Exact up to a million pixels; beyond, each metric is within 1e-4 of the exact one (`ScoreSummary` tells why), and
    so it is for another order of the images or after merging. The same images in the same order give the same bytes.
    """

    def __init__(self, fpr_limit: float = 0.3, variant: Variant = "exact") -> None:
        """Start without images.

        Args:
            fpr_limit: where the integral of `aupro` ends.
            variant: how its curve is read, see `aupro`.

        Raises:
            HarmoniadError: the limit or the variant is unknown.
        """
        check_limit(fpr_limit)
        self.fpr_limit, self.variant = fpr_limit, variant
        self._area = area_of(variant)
        self._good = ScoreSummary()  # pixels of images without a defect
        self._rest = ScoreSummary()  # other defect-free pixels
        self._defective = ScoreSummary()
        self._overlap = ScoreSummary()  # defective pixels, each region of the same weight
        self._images = ScoreSummary()  # defective pixels, each image of the same weight

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(summary.nbytes for summary in self._summaries)

    @property
    def _summaries(self) -> tuple[ScoreSummary, ...]:
        return self._defective, self._good, self._rest, self._overlap, self._images

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
        if not defective.any():
            self._good.add(scores.flatten())
            return
        hits = scores[defective]
        self._rest.add(scores[~defective])
        self._defective.add(hits)
        self._overlap.add(hits, region_weights(defective))
        self._images.add(hits, np.full(hits.size, 1 / hits.size))

    def merge(self, other: "PixelMetrics") -> None:
        """Add what another accumulator has seen; the other stays as it is.

        Raises:
            HarmoniadError: its `fpr_limit` or `variant` differs, or it is the same object.
        """
        check_other(self, other)
        if (other.fpr_limit, other.variant) != (self.fpr_limit, self.variant):
            raise HarmoniadError(
                f"cannot merge metrics of fpr_limit {self.fpr_limit} and {other.fpr_limit}, "
                f'variant "{self.variant}" and "{other.variant}"'
            )
        for summary, of_other in zip(self._summaries, other._summaries, strict=True):
            summary.merge(of_other)

    def compute(self) -> dict[str, float | None]:
        """Return the metrics; None where one is not defined.

        Returns:
            pixel_auroc, pixel_ap, pixel_f1max, pixel_f1max_threshold, aupro (to `fpr_limit`), aupro_05 (to 0.05) and
            aupimo. The false positive rate of AUPIMO is over all pixels of good images together, which is the mean of
            the images if all have the same size.
        """
        thresholds, (true_positives, good, rest, overlap, images) = self._accumulated()
        false_positives = good + rest
        f1, threshold = best_f1(thresholds, true_positives, false_positives) or (None, None)
        return {
            "pixel_auroc": roc_area(true_positives, false_positives),
            "pixel_ap": precision_area(true_positives, false_positives),
            "pixel_f1max": f1,
            "pixel_f1max_threshold": threshold,
            "aupro": self._area(overlap, false_positives, self.fpr_limit),
            "aupro_05": self._area(overlap, false_positives, 0.05),
            "aupimo": pimo_area(good, images),
        }

    def pro_curve(self, points: int = 200) -> tuple[Floats, Floats] | None:
        """The curve whose area is AUPRO, at so many false positive rates from 0 to `fpr_limit`, denser near 0.

        Returns:
            False positive rates and mean overlaps, (points,) each, or None where AUPRO is not defined.
        """
        _, (_, good, rest, overlap, _) = self._accumulated()
        false_positives = good + rest
        if self._area(overlap, false_positives, self.fpr_limit) is None:
            return None
        rates = self.fpr_limit * np.linspace(0, 1, points) ** 2
        return rates, np.interp(rates, false_positives / false_positives[-1], overlap / overlap[-1])

    def _accumulated(self) -> tuple[NDArray[np.floating], Floats]:
        """Falling thresholds (m,), and the mass (5, m) of each summary at or above them."""
        return accumulate(*side_by_side([summary.points() for summary in self._summaries]))


class ImageMetrics:
    """Image AUROC, AP and F1-max, and the rates at a threshold, with intervals: exact; holds 17 bytes an image."""

    def __init__(self, threshold: float | None = None) -> None:
        """Start without images.

        Args:
            threshold: that which the line uses (flagged at `score > threshold`); without it no rates are given.
        """
        self.threshold = threshold
        self._labels = array("b")
        self._scores = array("d")
        self._shares = array("d")  # 0 where the area is not known

    def update(self, label: bool | int, score: float, name: str | None = None, share: float = 0.0) -> None:
        """Add an image.

        Args:
            label: true if it has a defect.
            score: raw anomaly score, higher is more anomalous.
            name: what an error message calls the image.
            share: the area of its defects as a share of the image; 0 if it is not known.

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
        self._shares.append(share if self._labels[-1] else 0.0)

    def merge(self, other: "ImageMetrics") -> None:
        """Add what another accumulator has seen; the other stays as it is.

        Raises:
            HarmoniadError: its threshold differs, or it is the same object.
        """
        check_other(self, other)
        if other.threshold != self.threshold:
            raise HarmoniadError(f"cannot merge metrics at the thresholds {self.threshold} and {other.threshold}")
        self._labels.extend(other._labels)
        self._scores.extend(other._scores)
        self._shares.extend(other._shares)

    def compute(self) -> dict[str, float | None]:
        """Return the metrics; None where one is not defined.

        Returns:
            image_auroc, image_auroc_low, image_auroc_high (95 % interval), image_ap, image_f1max and
            image_f1max_threshold. With a threshold also recall, recall_low, recall_high, false_positive_rate,
            balanced_accuracy, and recall_tiny, recall_small and recall_large by the area of the defects (`AREAS`).
        """
        order = np.argsort(self._scores, kind="stable")  # the draws of an interval must not depend on the order
        labels, scores = np.array(self._labels, bool)[order], np.array(self._scores)[order]
        f1, threshold = f1_max(labels, scores) or (None, None)
        low, high = auroc_interval(labels, scores) or (None, None)
        figures = {
            "image_auroc": auroc(labels, scores),
            "image_auroc_low": low,
            "image_auroc_high": high,
            "image_ap": average_precision(labels, scores),
            "image_f1max": f1,
            "image_f1max_threshold": threshold,
        }
        if self.threshold is None:
            return figures
        return figures | self._rates(labels, scores, np.array(self._shares)[order], self.threshold)

    @staticmethod
    def _rates(
        labels: NDArray[np.bool_], scores: NDArray[np.float64], shares: NDArray[np.float64], threshold: float
    ) -> dict[str, float | None]:
        rates = rates_at(labels, scores, threshold)
        low, high = recall_interval(labels, scores, threshold) or (None, None)
        sizes = recall_by_area(shares[shares > 0], scores[shares > 0], threshold)
        return {
            "recall": rates.recall,
            "recall_low": low,
            "recall_high": high,
            "false_positive_rate": rates.false_positive_rate,
            "balanced_accuracy": rates.balanced_accuracy,
            **{f"recall_{name}": flagged / count if count else None for name, (flagged, count) in sizes.items()},
        }
