"""Per-region overlap (PRO): how well each defect is covered, whatever its size."""

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoniad.errors import HarmoniadError
from harmoniad.metrics.checks import mask_and_map
from harmoniad.metrics.curves import Floats, accumulate, overlap_area, sampled_overlap_area

Variant = Literal["exact", "mvtec"]


def aupro(
    masks: Iterable[ArrayLike], maps: Iterable[ArrayLike], fpr_limit: float = 0.3, variant: Variant = "exact"
) -> float | None:
    """Area under the curve of the per-region overlap against the false positive rate, from 0 to `fpr_limit`.

    At a threshold, the overlap of a region is the share of its pixels with at least that score, averaged over all
    8-connected defect regions of all images, each of the same weight. The false positive rate is the share of all
    defect-free pixels, those of good images included. The curve is integrated with trapezoids, interpolated at the
    limit and divided by the limit (Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021).

    The variants differ in where the curve is read. "exact": every different score is a threshold. "mvtec" follows the
    code that MVTec publishes: 100 thresholds, at evenly spaced ranks of the defect-free scores from the lowest to the
    highest, and the curve is straight between them, so up to a limit of 0.3 it has 30 points and up to 0.05 five. A
    pixel counts at `score > threshold`, and the false positive rate is the rank, as if no two scores were equal. The
    two agree to about 0.01 at a limit of 0.3 and drift apart below and where scores are tied. The loop that many papers
    use is neither: it reads 200 thresholds, evenly spaced between the lowest and the highest score, drops the points
    beyond the limit and rescales the rest to [0, 1]; on skewed scores it is a different number.

    Args:
        masks: (H, W) each, true (or not zero) on a defect.
        maps: (H, W) each, raw anomaly scores, higher is more anomalous.
        fpr_limit: where the integral ends, in (0, 1]; MVTec AD uses 0.3, MVTec AD 2 0.05.
        variant: "exact" or "mvtec".

    Returns:
        A number in [0, 1], or None without a defect region or without a defect-free pixel.

    Raises:
        HarmoniadError: shapes or counts differ, a score is NaN or infinite, or the limit or the variant is unknown.
    """
    check_limit(fpr_limit)
    area = area_of(variant)
    masks, maps = list(masks), list(maps)
    if len(masks) != len(maps):
        raise HarmoniadError(f"aupro needs a mask for each anomaly map, but got {len(masks)} masks, {len(maps)} maps")
    if not maps:
        return None
    scores, weights = [], []
    for index, (mask, anomaly_map) in enumerate(zip(masks, maps, strict=True)):
        defective, values = mask_and_map(mask, anomaly_map, f"image {index}")
        weight = np.zeros(values.shape)
        weight[defective] = region_weights(defective)
        scores.append(values.ravel())
        weights.append(weight.ravel())
    weight = np.concatenate(weights)
    _, (overlap, false_positives) = accumulate(np.concatenate(scores), np.stack([weight, weight == 0]))
    return area(overlap, false_positives, fpr_limit)


def region_weights(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 / area of its 8-connected region for each defect pixel of a mask (H, W), in the order of `mask[mask]`.

    Over a region the weights add up to 1, so a sum over pixels above a threshold is a sum of region overlaps.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return np.empty(0)
    from scipy import ndimage

    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, _ = ndimage.label(box, structure=np.ones((3, 3)))
    region = labels[box]
    return 1.0 / np.bincount(region)[region]


def area_of(variant: Variant) -> Callable[[Floats, Floats, float], float | None]:
    """Return how a variant reads the curve.

    Raises:
        HarmoniadError: there is no such variant.
    """
    if variant == "exact":
        return overlap_area
    if variant == "mvtec":
        return sampled_overlap_area
    raise HarmoniadError(f'variant must be "exact" or "mvtec", not {variant!r}')


def check_limit(fpr_limit: float) -> None:
    """Raise a HarmoniadError unless the limit of the false positive rate is in (0, 1]."""
    if not 0 < fpr_limit <= 1:
        raise HarmoniadError(f"fpr_limit must be above 0 and at most 1, not {fpr_limit}")
