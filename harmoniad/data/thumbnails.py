"""Small pictures of images for a page."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from harmoniad.data.images import ImageError, open_image, rgb_array
from harmoniad.data.scan_cache import SCAN_CACHE, scan

SIDE = 112  # pixels of the longer side; smaller images stay as they are


def thumbnails(paths: Sequence[Path], cache_file: Path | None = SCAN_CACHE) -> dict[Path, str]:
    """A JPEG in base64 of each image, empty where it cannot be decoded.

    Images whose size and time are those of an earlier scan are not read again.
    """
    found, _ = scan("thumbnail", thumbnail, paths, lambda path: [path], "thumbnails", cache_file)
    return dict(zip(paths, found, strict=True))


def thumbnail(path: Path) -> str:
    """A JPEG in base64, empty if the image cannot be decoded."""
    try:
        image = open_image(path)
        small = image if image.mode in ("L", "RGB") else Image.fromarray(rgb_array(image, path))
    except ImageError:
        return ""
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()
