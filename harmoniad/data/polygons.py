"""Masks that labelme drew: shapes in a JSON file."""

import base64
import binascii
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from harmoniad.data.images import MAX_PIXELS, ImageError, open_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NO_DEFECT = ("_background_", "__ignore__")  # labelme's own names for what is no object
_LINE_WIDTH, _POINT_RADIUS = 10, 5  # as labelme's shape_to_mask draws them
_LEAST_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2, "line": 2, "linestrip": 2, "point": 1, "mask": 1}


def polygon_mask(path: Path, size: tuple[int, int]) -> "NDArray[np.bool_]":
    """Draw the shapes of a labelme file as (H, W) bool.

    Args:
        path: The JSON file.
        size: Width and height of the image, for files that do not say them.

    Raises:
        ImageError: The file is missing, is not labelme's, or a shape of it cannot be drawn.
    """
    import numpy as np

    content = _read(path)
    width, height = (content.get(key) or size[axis] for axis, key in enumerate(("imageWidth", "imageHeight")))
    if not (isinstance(width, int) and isinstance(height, int) and 0 < width * height <= MAX_PIXELS and width > 0):
        raise ImageError(path, "`imageWidth` and `imageHeight` are no size of an image")
    canvas = Image.new("1", (width, height))
    for number, shape in enumerate(content["shapes"], 1):
        try:
            if shape.get("label") not in _NO_DEFECT:
                _draw(canvas, shape, path)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, binascii.Error) as error:
            reason = str(error) if type(error) is ValueError else "it is damaged"
            raise ImageError(path, f"shape {number} cannot be drawn: {reason}") from error
    return np.array(canvas)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ImageError(path, "is not JSON") from error
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise ImageError(path, "is not labelme's: it has no `shapes`")
    return content


def _draw(canvas: Image.Image, shape: dict[str, Any], path: Path) -> None:
    kind = shape.get("shape_type") or "polygon"
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if kind not in _LEAST_POINTS:
        raise ValueError(f"the kind `{kind}` is not one of {', '.join(_LEAST_POINTS)}")
    if len(points) < _LEAST_POINTS[kind]:
        raise ValueError(f"a {kind} needs {_LEAST_POINTS[kind]} points, not {len(points)}")
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a point is not finite")
    draw = ImageDraw.Draw(canvas)
    if kind == "polygon":
        draw.polygon(points, fill=1, outline=1)
    elif kind == "rectangle":
        (x0, x1), (y0, y1) = (sorted(axis) for axis in zip(*points[:2], strict=True))
        draw.rectangle((x0, y0, x1, y1), fill=1)
    elif kind == "circle":
        _disc(draw, points[0], math.dist(points[0], points[1]))
    elif kind == "point":
        _disc(draw, points[0], _POINT_RADIUS)
    elif kind == "mask":
        content = base64.b64decode(shape["mask"], validate=True)
        piece = open_image(path, content).convert("L").point(lambda value: 255 if value else 0)
        canvas.paste(1, (round(points[0][0]), round(points[0][1])), piece)
    else:
        draw.line(points, fill=1, width=_LINE_WIDTH)


def _disc(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
