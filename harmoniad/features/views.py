"""Views: the ways of looking at an image. A view is encoded once, under a key of its own in the feature cache."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from harmoniad.features.encoders import resize
from harmoniad.files import sha256_json
from harmoniad.params import Views
from harmoniad.tiling import Box, Tiling

VERSION = 1  # part of the key: raise it when the same view gives other pixels
SYNTHETIC_VERSION = 1  # the same for the made defects alone


@dataclass(frozen=True)
class View:
    """One way of looking at an image. The view without any change is the image itself.

    Attributes:
        box: The part of the image, in its own pixels; None for all of it.
        angle: By which it is turned about its centre, counter-clockwise, in degrees.
        flip: Whether it is mirrored, left to right, before it is turned.
        synthetic: The number of a copy with a made defect; None for the image as it is.
    """

    box: Box | None = None
    angle: float = 0.0
    flip: bool = False
    synthetic: int | None = None

    def key(self, sha256: str) -> str:
        """Name in the cache: that of the image for the image itself, so that its features are the same for all."""
        if self == View():
            return sha256
        version = [VERSION] if self.synthetic is None else [VERSION, SYNTHETIC_VERSION]
        return sha256_json({"image": sha256, "view": {**asdict(self), "angle": float(self.angle)}, "version": version})

    def apply(self, image: Image.Image, resolution: int, sha256: str) -> np.ndarray:
        """The view of an image: (resolution, resolution, 3) of uint8.

        Args:
            image: The whole image.
            resolution: Of the encoder.
            sha256: Of the image; it chooses the made defect, so that each image has its own.
        """
        return self.apply_with_mask(image, resolution, sha256)[0]

    def apply_with_mask(self, image: Image.Image, resolution: int, sha256: str) -> tuple[np.ndarray, np.ndarray | None]:
        """The same with the mask of the made defect, (resolution, resolution) of bool, or None where none is made."""
        part = image.crop(self.box) if self.box else image
        part = part.convert("RGB")
        if self.flip:
            part = ImageOps.mirror(part)
        if self.angle:
            # Turning many more pixels than the encoder will see takes seconds and changes nothing.
            part = _turn(part.reduce(max(1, min(part.size) // (2 * resolution))), self.angle)
        pixels = resize(part, resolution)
        if self.synthetic is None:
            return pixels, None
        from harmoniad.data.synthetic import add_defect

        return add_defect(pixels, int(self.key(sha256)[:16], 16))


def views_of(row: Mapping[str, Any], params: Views) -> list[View]:
    """Every view of an image that the pipeline needs.

    Args:
        row: Its row of the manifest.
        params: The section `views`.

    Returns:
        For a good training image each tile at every angle, and copies of the tiles with made defects. For any other
        image the tiles alone: what is inspected is looked at once, as it is.
    """
    tiles = tile_views(row, Tiling.from_params(params))
    if row["split"] != "train" or row["label"] != "good":
        return tiles
    angles = [360 * turn / params.rotations for turn in range(params.rotations)]
    flips = [False, True] if params.flips else [False]
    good = [View(tile.box, angle, flip) for tile in tiles for flip in flips for angle in angles]
    return good + [View(tile.box, synthetic=copy) for tile in tiles for copy in range(params.synthetic)]


def tile_views(row: Mapping[str, Any], tiling: Tiling) -> list[View]:
    """The tiles of an image, given its row of the manifest; the image itself where it is not cut."""
    return [View(box) for box in tiling.boxes(int(row["width"]), int(row["height"]))]


def _turn(image: Image.Image, angle: float) -> Image.Image:
    """Turn about the centre; what comes in over the border is the image, mirrored there."""
    width, height = image.size
    reach = math.hypot(width, height)
    across, down = math.ceil((reach - width) / 2) + 2, math.ceil((reach - height) / 2) + 2
    padded = np.pad(np.asarray(image), ((down, down), (across, across), (0, 0)), mode="symmetric")
    turned = Image.fromarray(padded).rotate(angle, Image.Resampling.BICUBIC)
    return turned.crop((across, down, across + width, down + height))
