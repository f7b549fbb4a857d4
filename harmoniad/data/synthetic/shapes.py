"""Where a defect is: functions of the wanted area in pixels, the image's side and a generator.

Each gives how much of each pixel is covered, as (h, w) float32 in 0..1, in a box of its own that fits into the image.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import label

from harmoniad.data.synthetic.noise import blur, fractal, log_uniform

_FINE = 4  # outlines are drawn this much larger and reduced, which smooths their edges
_NOMINAL = 512  # thicknesses are in pixels of an image of this side

Shape = Callable[[float, int, np.random.Generator], np.ndarray]


def draw_shape(area: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """A random shape with a slightly soft edge; its strongest pixel has 1."""
    shape = SHAPES[rng.choice(len(SHAPES), p=_SHARES)]
    return shape(area, side, rng)


def blobs(area: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """Thresholded Perlin noise, denser in the middle; half of the time only its largest piece."""
    mask = _noisy_spot(area, side, rng.uniform(0.15, 0.45), rng.uniform(0.4, 1.5), rng)
    if rng.random() < 0.5:
        pieces, _ = label(mask)
        mask = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    return _soft(mask, _edge(area, side, rng), side)


def stain(area: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """A spot whose outline wavers and whose edge fades slowly."""
    area = max(area, 0.002 * side**2)
    mask = _noisy_spot(area, side, 0.5, rng.uniform(0.1, 0.3), rng)
    return _soft(mask, rng.uniform(0.06, 0.2) * np.sqrt(area), side)


def scratch(area: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """One to three thin bent lines beside each other, stronger here and weaker there."""
    width = log_uniform(rng, 1, 6) * side / _NOMINAL
    length = float(np.clip(area / width, 10 * side / _NOMINAL, 0.7 * side))
    along = np.linspace(0, 1, 32)
    bend = rng.normal(0, 0.8) * along + np.cumsum(rng.normal(0, log_uniform(rng, 0.01, 0.3), 32))
    heading = rng.uniform(0, 2 * np.pi) + bend
    line = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * (length / 32)
    widths = np.maximum(width * (1 - rng.uniform(0, 0.8) * along), 0.5)
    strengths = np.clip(1 + rng.uniform(0, 0.6) * np.cumsum(rng.normal(0, 0.3, 32)), 0.3, 1)
    count = rng.choice(3, p=(0.75, 0.15, 0.10)) + 1
    lines = [line + rng.normal(0, 5 * width, 2) * (number > 0) for number in range(count)]

    def draw(pen: ImageDraw.ImageDraw, to_canvas: Callable[[np.ndarray], np.ndarray]) -> None:
        for points in map(to_canvas, lines):
            for start, end, thickness, strength in zip(points, points[1:], widths, strengths, strict=False):
                pen.line((*start, *end), int(255 * strength), max(round(thickness * _FINE), 1))

    return _soft(_drawn(np.concatenate(lines), width, side, draw), _edge(width**2, side, rng), side)


def pits(area: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """One or a few small dots close to each other."""
    count = min(int(rng.geometric(0.45)), 8)
    radius = float(np.clip(np.sqrt(area / count / np.pi), 0.9, 8 * side / _NOMINAL))
    radii = radius * rng.uniform(0.6, 1.1, (count, 2))
    centres = rng.normal(0, 3 * radius, (count, 2)) * (np.arange(count) > 0)[:, None]

    def draw(pen: ImageDraw.ImageDraw, to_canvas: Callable[[np.ndarray], np.ndarray]) -> None:
        for low, high in zip(to_canvas(centres - radii), to_canvas(centres + radii), strict=True):
            pen.ellipse((*low, *high), 255)

    return _soft(_drawn(centres, 2.5 * radius, side, draw), _edge(radius**2, side, rng), side)


def polygon(area: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """A piece with three to six straight edges, up to four times as long as wide."""
    count = int(rng.integers(3, 7))
    angle = (np.arange(count) + rng.uniform(0, 0.7, count)) * (2 * np.pi / count)
    corners = rng.uniform(0.5, 1, (count, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    corners[:, 0] *= log_uniform(rng, 1, 4)
    turn = rng.uniform(0, 2 * np.pi)
    corners @= np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    x, y = corners.T
    covered = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    corners *= np.sqrt(area / covered)

    def draw(pen: ImageDraw.ImageDraw, to_canvas: Callable[[np.ndarray], np.ndarray]) -> None:
        pen.polygon([tuple(corner) for corner in to_canvas(corners)], 255)

    return _soft(_drawn(corners, 1, side, draw), _edge(area, side, rng), side)


SHAPES: tuple[Shape, ...] = (blobs, stain, scratch, pits, polygon)
_SHARES = (0.35, 0.15, 0.2, 0.15, 0.15)


def _noisy_spot(area: float, side: int, filled: float, roughness: float, rng: np.random.Generator) -> np.ndarray:
    """The `area` highest pixels of a round hill with noise on it, in a box of which they fill about this part."""
    stretch = log_uniform(rng, 0.5, 2)
    height, width = (int(np.clip(np.sqrt(area / filled) * s, 3, side)) for s in (stretch, 1 / stretch))
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    hill = 1 - x**2 - y**2 + roughness * fractal(height, width, rng) * np.clip(1.5 - x**2 - y**2, 0, 1)
    return hill >= np.partition(hill.ravel(), -min(round(area), hill.size))[-min(round(area), hill.size)]


def _drawn(points: np.ndarray, margin: float, side: int, draw: Callable[..., None]) -> np.ndarray:
    """What `draw` paints round the points (k, 2) with a pen, in a box that holds them and a margin."""
    low, high = points.min(axis=0) - margin - 1, points.max(axis=0) + margin + 1
    width, height = (min(int(extent) + 1, side) for extent in high - low)
    canvas = Image.new("L", (width * _FINE, height * _FINE))
    draw(ImageDraw.Draw(canvas), lambda place: (place - low) * _FINE)
    return np.asarray(canvas.reduce(_FINE), np.float32) / 255


def _edge(area: float, side: int, rng: np.random.Generator) -> float:
    """How soft an edge is: a standard deviation that leaves even the smallest of shapes in place."""
    return min(log_uniform(rng, 0.3, 2.5) * side / _NOMINAL, 0.15 * float(np.sqrt(area)))


def _soft(shape: np.ndarray, sigma: float, side: int) -> np.ndarray:
    margin = int(3 * sigma) + 1
    soft = blur(np.pad(shape.astype(np.float32), margin), sigma)[:side, :side]
    return soft / max(float(soft.max()), 1 / 255)
