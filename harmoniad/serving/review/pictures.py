"""The pictures of the review page, made when an image is kept: a browser never gets the bytes that somebody sent."""

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from harmoniad.report.heatmap import Scale, small_panels

if TYPE_CHECKING:
    from harmoniad.inspector import Inspector, Prediction

LONGEST_SIDE = 640  # of a picture of the page
LONGEST_HEATMAP = 1024  # of the heat map that /predict gives
PICTURES = ("photo.jpg", "heat.jpg", "mask.png")

Pixels = np.ndarray


def heat_map(image: Pixels, prediction: "Prediction", inspector: "Inspector") -> bytes:
    """The image under its anomaly map on the fixed scale of the reports, as PNG; large images are shrunk."""
    return _encoded(_panels(image, prediction, inspector, LONGEST_HEATMAP)[1], "PNG", compress_level=1)


def review_pictures(image: Pixels, prediction: "Prediction", inspector: "Inspector") -> dict[str, bytes]:
    """The content of `PICTURES`: the image, its heat map, and white where the map lies above the threshold."""
    photo, heat = _panels(image, prediction, inspector, LONGEST_SIDE)
    above = Image.fromarray(np.where(prediction.anomaly_map > prediction.threshold, np.uint8(255), np.uint8(0)))
    height, width = photo.shape[:2]
    shrunk = np.asarray(above.resize((width, height), Image.Resampling.BOX)) > 0  # a single pixel stays visible
    return {
        "photo.jpg": _encoded(photo, "JPEG", quality=88),
        "heat.jpg": _encoded(heat, "JPEG", quality=88),
        "mask.png": _encoded(shrunk, "PNG", compress_level=1),
    }


def _panels(image: Pixels, prediction: "Prediction", inspector: "Inspector", longest_side: int) -> list[Pixels]:
    scale = Scale(inspector.threshold.normal_level, prediction.threshold)
    longest_side = min(longest_side, max(image.shape[:2]))
    panels = small_panels(image, prediction.anomaly_map, None, scale=scale, longest_side=longest_side)
    return [picture for _, picture in panels]


def _encoded(picture: Pixels, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()
