"""Per-image overlap at false positive rates that a line can bear (AUPIMO)."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from harmoniad.errors import HarmoniadError
from harmoniad.metrics.checks import mask_and_map
from harmoniad.metrics.curves import Floats, accumulate, log_area

FPR_BOUNDS = (1e-5, 1e-4)


def aupimo(
    masks: Iterable[ArrayLike], maps: Iterable[ArrayLike], fpr_bounds: tuple[float, float] = FPR_BOUNDS
) -> float | None:
    """Mean of `aupimo_of_images` over the images with a defect; arguments and errors as there.

    Returns:
        A number in [0, 1], or None where it is not defined for any image.
    """
    areas = [area for area in aupimo_of_images(masks, maps, fpr_bounds) if area is not None]
    return float(np.mean(areas)) if areas else None


def aupimo_of_images(
    masks: Iterable[ArrayLike], maps: Iterable[ArrayLike], fpr_bounds: tuple[float, float] = FPR_BOUNDS
) -> list[float | None]:
    """Area under the per-image overlap curve (Bertoldo et al., "AUPIMO", BMVC 2024, section 3), for each image.

    The overlap is the share of the image's defective pixels with at least the score of a threshold. It is drawn against
    the logarithm of the false positive rate, which good images alone decide (the mean of their own rates), and averaged
    between the bounds. Every different score is a threshold; anomalib reads 300,000, evenly spaced in the scores.

    Args:
        masks: (H, W) each, true (or not zero) on a defect.
        maps: (H, W) each, raw anomaly scores, higher is more anomalous.
        fpr_bounds: from and to which false positive rate.

    Returns:
        For each image a number in [0, 1]. None for an image without a defect, and for all where good images are missing
        or have too few pixels to show a rate as low as the lower bound.

    Raises:
        HarmoniadError: shapes or counts differ, a score is NaN or infinite, or the bounds are out of range.
    """
    low, high = fpr_bounds
    if not 0 < low < high <= 1:
        raise HarmoniadError(f"fpr_bounds must be rising, above 0 and at most 1, not {fpr_bounds}")
    masks, maps = list(masks), list(maps)
    if len(masks) != len(maps):
        raise HarmoniadError(f"aupimo needs a mask for each anomaly map, but got {len(masks)} masks, {len(maps)} maps")
    pairs = [
        mask_and_map(mask, anomaly_map, f"image {index}")
        for index, (mask, anomaly_map) in enumerate(zip(masks, maps, strict=True))
    ]
    good = [scores.ravel() for defective, scores in pairs if not defective.any()]
    if not good or sum(scores.size for scores in good) * low < 1:
        return [None] * len(pairs)
    rates = np.concatenate([np.full(scores.size, 1 / scores.size / len(good)) for scores in good])
    thresholds, (rate,) = accumulate(np.concatenate(good), rates[None])
    # Only the highest scores matter. One more than those up to the bound, for the interpolation there.
    count = 1 + int(np.searchsorted(rate, high))
    thresholds, steps = thresholds[:count], np.diff(rate[:count], prepend=0.0)
    areas: list[float | None] = []
    for defective, scores in pairs:
        hits = scores[defective]
        if not hits.size:
            areas.append(None)
            continue
        masses = np.zeros((2, thresholds.size + hits.size))
        masses[0, : thresholds.size] = steps
        masses[1, thresholds.size :] = 1 / hits.size
        _, (false_positive_rate, recall) = accumulate(np.concatenate([thresholds, hits]), masses)
        areas.append(log_area(false_positive_rate, recall, fpr_bounds))
    return areas


def pimo_area(good: Floats, images: Floats, fpr_bounds: tuple[float, float] = FPR_BOUNDS) -> float | None:
    """AUPIMO from sums (m,) at falling thresholds: pixels of good images, and overlaps with defects of all images."""
    if not good.size or images[-1] == 0 or good[-1] * fpr_bounds[0] < 1:
        return None
    return log_area(good / good[-1], images / images[-1], fpr_bounds)
