"""Saturated per-region overlap (sPRO): a defect is found once enough of it is, not only when all of it is."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harmoniad.errors import HarmoniadError
from harmoniad.metrics.checks import check_other, mask_and_map
from harmoniad.metrics.curves import accumulate, overlap_area
from harmoniad.metrics.pro import check_limit
from harmoniad.metrics.summary import ScoreSummary, side_by_side

Region = tuple[ArrayLike, float]
"""A mask (H, W) of one defect, and how many of its pixels must be found."""


def spro(
    regions: Iterable[Sequence[Region]], anomaly_maps: Iterable[ArrayLike], fpr_limit: float = 0.05
) -> float | None:
    """Area under the curve of the saturated per-region overlap against the false positive rate, from 0 to `fpr_limit`.

    At a threshold, the saturated overlap of a region is min(pixels with at least that score / saturation area, 1),
    averaged over all regions of all images, each of the same weight (Bergmann et al., "Beyond Dents and Scratches",
    IJCV 2022, section 4.2). A region is what the annotation says, connected or not. The false positive rate is the
    share of all pixels outside of any region. Every different score is a threshold; the curve is integrated with
    trapezoids, interpolated at the limit and divided by the limit. With saturation areas equal to the areas of
    connected regions it is AUPRO.

    MVTec LOCO AD reports structural and logical defects apart: the images of one kind, together with all good ones.

    Args:
        regions: for each image a list of a mask (H, W), true (or not zero) on the region, and the saturation area in
            pixels of that mask, which need not be a whole number; empty for a good image.
        anomaly_maps: (H, W) each, raw anomaly scores, higher is more anomalous.
        fpr_limit: where the integral ends, in (0, 1].

    Returns:
        A number in [0, 1], or None without a region or without a defect-free pixel.

    Raises:
        HarmoniadError: shapes or counts differ, a score is NaN or infinite, a region is empty, or a saturation area or
            the limit is out of range.
    """
    check_limit(fpr_limit)
    lists, maps = list(regions), list(anomaly_maps)
    if len(lists) != len(maps):
        raise HarmoniadError(f"spro needs regions for each anomaly map, but got {len(lists)} lists, {len(maps)} maps")
    normal: list[NDArray] = []
    scores: list[NDArray] = []
    weights: list[NDArray] = []
    for index, (found, anomaly_map) in enumerate(zip(lists, maps, strict=True)):
        outside, parts = _split(found, anomaly_map, f"image {index}", None)
        normal.append(outside)
        scores += [values for values, _ in parts]
        weights += [weight for _, weight in parts]
    if not scores:
        return None
    outside = np.concatenate(normal)
    weight = np.concatenate([np.zeros(outside.size), *weights])
    is_normal = np.arange(weight.size) < outside.size
    _, (overlap, false_positives) = accumulate(np.concatenate([outside, *scores]), np.stack([weight, is_normal]))
    return overlap_area(overlap, false_positives, fpr_limit, len(scores))


class SproMetrics:
    """sPRO of each kind of defect in one pass and in constant memory; within 1e-4 of the exact one, as `PixelMetrics`.

    A kind is measured on its own images and all good ones.
    """

    def __init__(self, fpr_limit: float = 0.05) -> None:
        check_limit(fpr_limit)
        self.fpr_limit = fpr_limit
        self._good = ScoreSummary()
        self._normal: dict[str, ScoreSummary] = {}
        self._overlap: dict[str, ScoreSummary] = {}
        self._regions: dict[str, int] = {}

    def update(
        self, regions: Sequence[Region], anomaly_map: ArrayLike, kind: str = "defect", name: str | None = None
    ) -> None:
        """Add an image.

        Args:
            regions: as one of those of `spro`; empty for a good image.
            anomaly_map: (H, W), raw scores, higher is more anomalous; taken as float32.
            kind: what its defects are, such as "structural"; does not matter for a good image.
            name: what an error message calls the image.

        Raises:
            HarmoniadError: as `spro`; nothing is added then.
        """
        normal, parts = _split(regions, anomaly_map, name, np.float32)
        if not parts:
            self._good.add(normal)
            return
        self._normal.setdefault(kind, ScoreSummary()).add(normal)
        overlap = self._overlap.setdefault(kind, ScoreSummary())
        for scores, weights in parts:
            overlap.add(scores, weights)
        self._regions[kind] = self._regions.get(kind, 0) + len(parts)

    def merge(self, other: "SproMetrics") -> None:
        """Add what another accumulator has seen; the other stays as it is.

        Raises:
            HarmoniadError: its `fpr_limit` differs, or it is the same object.
        """
        check_other(self, other)
        if other.fpr_limit != self.fpr_limit:
            raise HarmoniadError(f"cannot merge metrics of fpr_limit {self.fpr_limit} and {other.fpr_limit}")
        self._good.merge(other._good)
        for kind, count in other._regions.items():
            self._normal.setdefault(kind, ScoreSummary()).merge(other._normal[kind])
            self._overlap.setdefault(kind, ScoreSummary()).merge(other._overlap[kind])
            self._regions[kind] = self._regions.get(kind, 0) + count

    def compute(self) -> dict[str, float | None]:
        """Return the sPRO of each kind; None without a defect-free pixel."""
        found = {}
        for kind, regions in sorted(self._regions.items()):
            lists = [self._good.points(), self._normal[kind].points(), self._overlap[kind].points()]
            _, (good, rest, overlap) = accumulate(*side_by_side(lists))
            found[kind] = overlap_area(overlap, good + rest, self.fpr_limit, regions)
        return found


def spro_figures(kinds: Mapping[str, float | None]) -> dict[str, float | None]:
    """Name the sPRO of each kind (`spro_structural`, ...) and their mean (`spro`), as MVTec LOCO AD reports it."""
    defined = [value for value in kinds.values() if value is not None]
    mean = sum(defined) / len(defined) if defined else None
    return {"spro": mean, **{f"spro_{kind}": value for kind, value in kinds.items()}}


def _split(
    regions: Sequence[Region], anomaly_map: ArrayLike, name: str | None, dtype: type[np.floating] | None
) -> tuple[NDArray, list[tuple[NDArray, NDArray[np.float64]]]]:
    """Return the scores outside of all regions, and for each region the scores that count and how much each does."""
    prefix = f"{name}: " if name else ""
    anywhere, values = mask_and_map(np.zeros(np.shape(anomaly_map), bool), anomaly_map, name, dtype)
    parts = []
    for mask, saturation in regions:
        region, _ = mask_and_map(mask, values, name)
        if not region.any():
            raise HarmoniadError(f"{prefix}a region without a pixel")
        if not 0 < saturation < np.inf:
            raise HarmoniadError(f"{prefix}a saturation area must be above 0, not {saturation}")
        anywhere |= region
        parts.append(_saturated(values[region], float(saturation)))
    return values[~anywhere], parts


def _saturated(scores: NDArray, saturation: float) -> tuple[NDArray, NDArray[np.float64]]:
    """Return the highest scores of a region and 1 / saturation for each, up to a sum of 1.

    Further pixels add nothing once the region is saturated, and those of a score at which it becomes so add up to it.
    """
    count = min(scores.size, int(np.ceil(saturation)))
    highest = np.partition(scores, scores.size - count)[scores.size - count :]
    highest = np.sort(highest)[::-1].copy()
    weights = np.full(count, 1 / saturation)
    weights[-1] = min(1.0, saturation - (count - 1)) / saturation
    return highest, weights
