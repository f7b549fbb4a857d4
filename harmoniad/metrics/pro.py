"""Per-region overlap (PRO): how well each defect is covered, whatever its size."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoniad.errors import HarmoniadError
from harmoniad.metrics.checks import mask_and_map
from harmoniad.metrics.curves import accumulate, overlap_area


def aupro(masks: Iterable[ArrayLike], maps: Iterable[ArrayLike], fpr_limit: float = 0.3) -> float | None:
    """Area under the curve of the per-region overlap against the false positive rate, from 0 to `fpr_limit`.

    At a threshold, the overlap of a region is the share of its pixels with at least that score, averaged over all
    8-connected defect regions of all images, each of the same weight. The false positive rate is the share of all
    defect-free pixels, those of good images included. Every different score is a threshold; the curve is integrated
    with trapezoids, interpolated at the limit and divided by the limit (Bergmann et al., "The MVTec Anomaly Detection
    Dataset", IJCV 2021).

    This is the exact value. MVTec's own code reads the same curve at 100 thresholds, evenly spaced in the ranks of the
    normal scores. The loop that many papers use reads it at 200 thresholds, evenly spaced between the lowest and the
    highest score, drops the points beyond the limit and rescales the rest to [0, 1] without interpolating at the limit;
    on skewed scores it is a different number.

    Args:
        masks: (H, W) each, true (or not zero) on a defect.
        maps: (H, W) each, raw anomaly scores, higher is more anomalous.
        fpr_limit: where the integral ends, in (0, 1].

    Returns:
        A number in [0, 1], or None without a defect region or without a defect-free pixel.

    Raises:
        HarmoniadError: shapes or counts differ, a score is NaN or infinite, or the limit is out of range.
    """
    check_limit(fpr_limit)
    masks, maps = list(masks), list(maps)
    if len(masks) != len(maps):
        raise HarmoniadError(f"aupro needs a mask for each anomaly map, but got {len(masks)} masks, {len(maps)} maps")
    if not maps:
        return None
    scores, weights = [], []
    for index, (mask, anomaly_map) in enumerate(zip(masks, maps, strict=True)):
        defective, values = mask_and_map(mask, anomaly_map, f"image {index}")
        scores.append(values.ravel())
        weights.append(region_weights(defective).ravel())
    weight = np.concatenate(weights)
    _, (overlap, false_positives) = accumulate(np.concatenate(scores), np.stack([weight, weight == 0]))
    return overlap_area(overlap, false_positives, fpr_limit)


def region_weights(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (H, W): 1 / area of its 8-connected region for each defect pixel, 0 elsewhere.

    Over a region the weights add up to 1, so a sum over pixels above a threshold is a sum of region overlaps.
    """
    if not mask.any():
        return np.zeros(mask.shape)
    from scipy import ndimage

    region, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    area = np.bincount(region.ravel())
    weight = 1.0 / np.maximum(area, 1)
    weight[0] = 0.0  # the background
    return weight[region]


def check_limit(fpr_limit: float) -> None:
    """Raise a HarmoniadError unless the limit of the false positive rate is in (0, 1]."""
    if not 0 < fpr_limit <= 1:
        raise HarmoniadError(f"fpr_limit must be above 0 and at most 1, not {fpr_limit}")
