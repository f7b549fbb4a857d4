"""The pictures of the review page: a browser never gets the bytes that somebody sent.

They are drawn when somebody looks at them. While the line waits for its verdict, only the map is kept.
"""

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from harmoniad.data.images import load_rgb
from harmoniad.errors import HarmoniadError
from harmoniad.report.heatmap import Scale, panel_size, shrunk, small_panels

if TYPE_CHECKING:
    from harmoniad.inspector import Inspector, Prediction
    from harmoniad.serving.review.store import Item, ReviewStore

LONGEST_SIDE = 640  # of a picture of the page
LONGEST_HEATMAP = 1024  # of the heat map that /predict gives
PICTURES = {"photo.jpg": "image/jpeg", "heat.jpg": "image/jpeg", "mask.png": "image/png"}  # and their types
MAP, ABOVE = "map.png", 128

Pixels = np.ndarray


def heat_map(image: Pixels, prediction: "Prediction", inspector: "Inspector") -> bytes:
    """The image under its anomaly map on the fixed scale of the reports, as PNG; large images are shrunk."""
    scale = Scale(inspector.threshold.normal_level, prediction.threshold)
    side = min(LONGEST_HEATMAP, max(image.shape[:2]))
    panels = small_panels(image, prediction.anomaly_map, None, scale=scale, longest_side=side)
    return _encoded(panels[1][1], "PNG", compress_level=1)


def map_levels(prediction: "Prediction", inspector: "Inspector") -> bytes:
    """The content of `MAP`: an anomaly map as small as the pictures, as a grey PNG.

    0 is the normal level, `ABOVE` the first level above the threshold, 255 as far above it again.
    """
    height, width = prediction.anomaly_map.shape
    small = shrunk(prediction.anomaly_map, *panel_size(width, height, min(LONGEST_SIDE, max(width, height))))
    positions = Scale(inspector.threshold.normal_level, prediction.threshold).positions(small).clip(0, 2)
    levels = np.where(small > prediction.threshold, ABOVE + (positions - 1) * (255 - ABOVE), positions * (ABOVE - 1))
    return _encoded(levels.astype(np.uint8), "PNG", compress_level=1)


def picture(store: "ReviewStore", item: "Item", name: str) -> bytes:
    """One of `PICTURES`; those of an image that nobody has looked at yet are drawn, one image at a time.

    Raises:
        OSError: The image is no longer kept.
        ImageError: It is damaged.
    """
    with store.drawing:
        path = store.file(item, name)
        if path.is_file():
            return path.read_bytes()
        image = load_rgb(Path(item.name), store.image(item), max_pixels=item.width * item.height)
        drawn = draw(image, store.file(item, MAP).read_bytes())
        with contextlib.suppress(OSError, HarmoniadError):  # on a full disk, it is drawn again the next time
            store.keep(item, drawn)
    return drawn[name]


def draw(image: Pixels, levels: bytes) -> dict[str, bytes]:
    """The content of `PICTURES`: the image, its heat map, and white where the map lies above the threshold."""
    with Image.open(io.BytesIO(levels), formats=["PNG"]) as opened:
        level = np.asarray(opened, np.float32)
    above = level >= ABOVE
    positions = np.where(above, 1 + (level - ABOVE) / (255 - ABOVE), level / ABOVE)
    side = min(LONGEST_SIDE, max(image.shape[:2]))
    panels = small_panels(image, positions.astype(np.float32), None, scale=Scale(0, 1), longest_side=side)
    (_, photo), (_, heat) = panels
    mask = Image.fromarray(above).resize((photo.shape[1], photo.shape[0]), Image.Resampling.NEAREST)
    return {
        "photo.jpg": _encoded(photo, "JPEG", quality=88),
        "heat.jpg": _encoded(heat, "JPEG", quality=88),
        "mask.png": _encoded(np.asarray(mask), "PNG", compress_level=1),
    }


def _encoded(picture: Pixels, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()
