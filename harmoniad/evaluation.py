"""Scoring the images of a manifest with a trained detector, and turning the maps into metrics in one pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harmoniad.data.masks import read_mask
from harmoniad.features.cache import FeatureCache
from harmoniad.features.dataset import CachedFeatures
from harmoniad.features.views import tile_views
from harmoniad.metrics import ImageMetrics, PixelMetrics, SproMetrics
from harmoniad.metrics.spro import Region, spro_figures
from harmoniad.models.storage import TrainedModel
from harmoniad.progress import Progress
from harmoniad.scoring import ImageScore, Threshold, resize_map

if TYPE_CHECKING:
    import pandas as pd

BATCH_SIZE = 16
METRIC_NAMES = ("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "aupro")


@dataclass(frozen=True)
class Scored:
    """One scored image.

    Attributes:
        position: Row of the manifest that it belongs to.
        score: Raw image score.
        pixel_map: Raw scores: (R, R) at the encoder's resolution, or (h, w) of an image that was cut into tiles.
    """

    position: int
    score: float
    pixel_map: Tensor


def score_images(
    rows: "pd.DataFrame", model: TrainedModel, cache: FeatureCache, image_score: ImageScore, label: str
) -> Iterator[Scored]:
    """Score the images of some rows of a manifest from their cached features, in the order of the rows.

    Memory: the maps of one batch and of one image's tiles.
    """
    features = CachedFeatures.of_rows(cache, rows, lambda row: tile_views(row, model.tiling))
    maps = _view_maps(features, model, image_score)
    with Progress(label, len(rows), "images") as progress:
        for position, (width, height) in enumerate(zip(rows["width"], rows["height"], strict=True)):
            boxes = model.tiling.boxes(width, height)
            score, pixel_map = image_score.join(torch.stack(list(islice(maps, len(boxes)))), boxes, width, height)
            yield Scored(position, score, pixel_map)
            progress.advance()


def _view_maps(features: CachedFeatures, model: TrainedModel, image_score: ImageScore) -> Iterator[Tensor]:
    """The map (R, R) of each entry."""
    for start in range(0, len(features), BATCH_SIZE):
        indices = range(start, min(start + BATCH_SIZE, len(features)))
        categories = [features.categories[index] for index in indices]
        with torch.inference_mode():
            token_maps = model.detector.anomaly_maps(features.batch(indices), categories)
            maps = image_score.pixel_maps(token_maps, model.encoder.resolution)
        yield from maps


class CategoryMetrics:
    """The metrics of each category, fed image by image: `METRIC_NAMES`, and what else its parts compute.

    Memory does not grow with the number of images, but for 17 bytes an image.
    """

    def __init__(self, max_side: int, threshold: Threshold | None = None) -> None:
        """Start without images.

        Args:
            max_side: Maps and masks are compared at no larger size.
            threshold: That of the line; without it there are no rates at it.
        """
        self._max_side = max_side
        self._threshold = threshold
        self._images: dict[str, ImageMetrics] = {}
        self._pixels: dict[str, PixelMetrics] = {}
        self._regions: dict[str, SproMetrics] = {}

    def update(
        self, row: Mapping[str, Any], score: float, pixel_map: Tensor, regions: Sequence[Region] | None = None
    ) -> None:
        """Add a test image.

        A defect image whose mask is missing or empty counts for the image metrics only: nobody knows which of its
        pixels are defective.

        Args:
            row: Its row of the manifest.
            score: Its image score.
            pixel_map: As in `Scored`.
            regions: Of a data set with saturation areas, for each image: the mask (H, W) of each of its defects and
                how many of its pixels must be found; empty for a good image. Without them no sPRO is reported.
        """
        category, path = row["category"], row["path"]
        is_defect = row["label"] == "defect"
        if category not in self._images:
            self._images[category] = ImageMetrics(self._threshold.of(category) if self._threshold else None)
            self._pixels[category] = PixelMetrics()
        self._images[category].update(is_defect, score, path, _share(row) if is_defect else 0.0)
        if is_defect and row["mask_area"] == 0:
            return
        height, width = shrunk_size(row["height"], row["width"], self._max_side)
        mask = shrink_mask(read_mask(row), height, width) if is_defect else np.zeros((height, width), bool)
        anomaly_map = resize_map(pixel_map, height, width)
        self._pixels[category].update(mask, anomaly_map, path)
        if regions is not None and (regions or not is_defect):
            shrunk = [_shrink_region(region, height, width) for region in regions]
            kind = str(row["defect"]).removesuffix("_anomalies")  # as MVTec LOCO AD names its folders
            self._regions.setdefault(category, SproMetrics()).update(shrunk, anomaly_map, kind, path)

    def compute(self) -> dict[str, Any]:
        """The figures of each category and their mean, None where a figure is not defined."""
        categories = {}
        for name in sorted(self._images):
            found = {**self._images[name].compute(), **self._pixels[name].compute()}
            if name in self._regions:
                found |= spro_figures(self._regions[name].compute())
            rest = {metric: value for metric, value in found.items() if not metric.endswith("_threshold")}
            categories[name] = {metric: found[metric] for metric in METRIC_NAMES} | rest
        return {"mean": _mean(categories), "categories": categories}

    def pro_curves(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The PRO curve of each category for which it is defined, see `PixelMetrics.pro_curve`."""
        curves = {name: self._pixels[name].pro_curve() for name in sorted(self._pixels)}
        return {name: curve for name, curve in curves.items() if curve is not None}


def _share(row: Mapping[str, Any]) -> float:
    """The area of an image's defects as a share of the image; 0 if they are not marked."""
    return float(row["mask_area"] / (row["height"] * row["width"]))


def shrunk_size(height: int, width: int, max_side: int) -> tuple[int, int]:
    """The size whose longest side is at most `max_side`, in the same proportions."""
    factor = min(1.0, max_side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def shrink_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring a mask (H, W) to a size that is not larger; a pixel that touches the defect is defective.

    So a defect never vanishes, however small it is.
    """
    if mask.shape == (height, width):
        return mask
    small = np.zeros((height, width), bool)
    rows, columns = np.nonzero(mask)
    small[rows * height // mask.shape[0], columns * width // mask.shape[1]] = True
    return small


def _shrink_region(region: Region, height: int, width: int) -> Region:
    """Shrink the mask of a region, and its saturation area in the same proportion."""
    mask, saturation = np.asarray(region[0]), region[1]
    small = shrink_mask(mask, height, width)
    return small, saturation * (int(np.count_nonzero(small)) / max(1, int(np.count_nonzero(mask))))


def _mean(categories: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean over the categories for which a figure is defined; the ends of intervals have none."""
    mean: dict[str, float | None] = {}
    for metric in dict.fromkeys(metric for figures in categories.values() for metric in figures):
        if metric.endswith(("_low", "_high")):
            continue
        values = [figures.get(metric) for figures in categories.values()]
        defined = [value for value in values if value is not None]
        mean[metric] = sum(defined) / len(defined) if defined else None
    return mean
