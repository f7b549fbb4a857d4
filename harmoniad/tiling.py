"""Large images in tiles: where the tiles lie, and how their maps become one map without seams."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from harmoniad.params import Views

Box = tuple[int, int, int, int]  # left, top, right, bottom, in the image's own pixels

LONGEST_SIDE = 2048  # of a blended map: finer than the tiles' own maps, and 16 MB at most


@dataclass(frozen=True)
class Tiling:
    """How images are cut.

    Attributes:
        side: Of a tile in the image's own pixels; 0 takes every image whole.
        overlap: Share of a tile that its neighbour shows too, at least.
    """

    side: int = 0
    overlap: float = 0.25

    @classmethod
    def from_params(cls, params: Views) -> Self:
        """Take the settings of `params.yaml`."""
        return cls(params.tile, params.tile_overlap)

    def boxes(self, width: int, height: int) -> list[Box | None]:
        """The tiles of an image, row by row; None alone where the image is not larger than a tile.

        They are evenly spaced, cover the image and lie inside of it; a side that is shorter than a tile is taken whole.
        """
        if not self.side or max(width, height) <= self.side:
            return [None]
        across, down = min(self.side, width), min(self.side, height)
        return [
            (left, top, left + across, top + down)
            for top in self._starts(height, down)
            for left in self._starts(width, across)
        ]

    def _starts(self, length: int, side: int) -> list[int]:
        gaps = int(np.ceil((length - side) / (side * (1 - self.overlap))))
        return [round(start) for start in np.linspace(0, length - side, gaps + 1).tolist()]


def blend(maps: Tensor, boxes: Sequence[Box | None], width: int, height: int) -> Tensor:
    """Join the maps of an image's tiles: where tiles overlap, each counts the more the nearer its middle is.

    Args:
        maps: (n, R, R), one for each box.
        boxes: As `Tiling.boxes` gives them.
        width: Of the image.
        height: Of the image.

    Returns:
        (h, w): the size of the image, shrunk to `LONGEST_SIDE`; for an image that is one tile, its map as it is.
    """
    if list(boxes) == [None]:
        return maps[0]
    tiles = [box for box in boxes if box is not None]
    factor = min(1.0, LONGEST_SIDE / max(width, height))
    rows = _placed({(top, bottom) for _, top, _, bottom in tiles}, height, round(height * factor), maps)
    columns = _placed({(left, right) for left, _, right, _ in tiles}, width, round(width * factor), maps)
    whole = maps.new_zeros(round(height * factor), round(width * factor))
    for tile, (left, top, right, bottom) in zip(maps, tiles, strict=True):
        (y, from_rows), (x, from_columns) = rows[top, bottom], columns[left, right]
        whole[y, x] += from_rows @ tile @ from_columns.T
    return whole


def _placed(
    spans: set[tuple[int, int]], length: int, size: int, maps: Tensor
) -> dict[tuple[int, int], tuple[slice, Tensor]]:
    """Along one axis: which pixels of the whole map a tile touches, and how they are made from those of its map.

    Returns:
        For each span, in pixels of the image, a range of k pixels of the whole map and a matrix (k, R): bilinear
        interpolation (with averages where the map shrinks), weighted with a Hann window over the tile. Over all spans,
        the weights of a pixel add up to one.
    """
    resolution = maps.shape[-1]
    centres = (np.arange(size) + 0.5) * length / size
    windows = {span: _window(centres, *span) for span in spans}
    total = np.sum(list(windows.values()), axis=0)
    found = {}
    for (start, end), window in windows.items():
        touched = np.flatnonzero(window)
        pixel = (end - start) / resolution  # of the tile's map
        tile_centres = start + (np.arange(resolution) + 0.5) * pixel
        distance = np.abs(centres[touched, None] - tile_centres) / max(pixel, length / size)
        weights = np.clip(1 - distance, 0, None)
        weights *= ((window / total)[touched] / weights.sum(1))[:, None]
        place = slice(int(touched[0]), int(touched[-1]) + 1)
        found[start, end] = (place, torch.from_numpy(weights).to(maps))
    return found


def _window(centres: np.ndarray, start: int, end: int) -> np.ndarray:
    inside = (centres >= start) & (centres <= end)
    hann = np.sin(np.pi * (centres - start) / (end - start)) ** 2
    return np.where(inside, hann + 1e-6, 0)  # without overlap, a pixel on the edge of both tiles still needs a weight
