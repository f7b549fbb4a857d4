"""Where a part looks wrong: connected regions of an anomaly map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmoniad.tiling import Box


@dataclass(frozen=True)
class Region:
    """Neighbouring pixels that all lie above the threshold; diagonal neighbours count.

    Attributes:
        box: Left, top, right, bottom in pixels of the image; right and bottom are the first pixels outside.
        area: Number of pixels.
        max_score: Highest pixel.
    """

    box: Box
    area: int
    max_score: float


def find_regions(anomaly_map: NDArray[np.float32], threshold: float, is_anomalous: bool) -> list[Region]:
    """The regions above the threshold, the largest first.

    The image score is a mean of the highest pixels of the map, so that both are on one scale and the image's threshold
    holds for a pixel too, as in the heat maps. A part that passed may have small regions, too few pixels to flag it.
    Where a flagged one has none, because its map lost its peak when it shrank to the image's size, the highest pixels
    count.

    Args:
        anomaly_map: (H, W) raw scores.
        threshold: Of the image.
        is_anomalous: Whether the image is flagged.
    """
    from scipy import ndimage

    above = anomaly_map > threshold
    if is_anomalous and not above.any():
        above = anomaly_map == anomaly_map.max()
    labels, _ = ndimage.label(above, structure=np.ones((3, 3)))
    regions = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        # In its box alone: scipy's own maximum sorts the whole map, which takes a minute at 100 megapixels.
        pixels = anomaly_map[rows, columns][labels[rows, columns] == number]
        box = (columns.start, rows.start, columns.stop, rows.stop)
        regions.append(Region(box, pixels.size, float(pixels.max())))
    return sorted(regions, key=lambda region: (-region.area, -region.max_score, region.box))
