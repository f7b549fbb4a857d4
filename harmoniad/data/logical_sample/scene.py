"""Solid things on a surface under a lamp: each is a signed distance, a height and a colour, shaded by its slopes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from harmoniad.data.sample.part import NOMINAL_SIZE, unit

Colour = tuple[float, float, float]
# How high the lamp stands: the sine and the cosine of the angle between its light and the upright.
_ASIDE, _UPRIGHT = 0.62, 0.785
_TEXT_SCALE = 4
# A shadow ends so many nominal pixels from the item that throws it.
_SHADOW = 18


@dataclass(frozen=True)
class Item:
    """A thing at its place. Lengths in nominal pixels, (0, 0) in the middle of the picture.

    Attributes:
        shape: its key in the table of solids.
        x: of its middle.
        y: of its middle.
        angle: in radians.
        length: of what comes in several lengths.
        colour: of what comes in several colours.
        text: what is printed on it.
        tone: how bright this piece came out of its mould, around 1.
        bend: how far it, or one of its pins, is bent out of shape.
        pin: which of its pins that is.
    """

    shape: str
    x: float
    y: float
    angle: float = 0.0
    length: float = 0.0
    colour: Colour = (0.5, 0.5, 0.5)
    text: str = ""
    tone: float = 1.0
    bend: float = 0.0
    pin: int = 0


@dataclass(frozen=True)
class Solid:
    """What an item is made of, on a grid (h, w).

    Attributes:
        inside: signed distance to its outline in nominal pixels, positive inside.
        height: of its surface, in nominal pixels.
        colour: (h, w, 3) or one for all.
        metal: how much of the light it mirrors, 0..1; an array (h, w) or one for all.
        lift: how far it stands over what lies below, which sets its shadow.
    """

    inside: np.ndarray
    height: np.ndarray
    colour: np.ndarray
    metal: np.ndarray | float
    lift: float


Shape = Callable[[Item, np.ndarray, np.ndarray], Solid]


@dataclass(frozen=True)
class Shapes:
    """The solids of a product: how each is drawn, and how far it reaches from its middle in nominal pixels."""

    draw: dict[str, Shape]
    reach: Callable[[Item], float]


class Scene:
    """A picture that is being composed, item by item, from below.

    Attributes:
        colour: (n, n, 3) float32, 0..1.
        light: unit vector (x, y) that points to the lamp.
    """

    def __init__(self, colour: np.ndarray, light: tuple[float, float], shapes: Shapes) -> None:
        self.colour = colour
        self.light = light
        self._shapes = shapes
        self._n = colour.shape[0]

    def lay(self, item: Item) -> None:
        """Put an item down, with its shadow."""
        box, x, y = _grid(item, self._shapes.reach(item) + _SHADOW, self._n)
        solid = self._shapes.draw[item.shape](item, x, y)
        u = unit(self._n)
        cover = np.clip(solid.inside * u + 0.5, 0, 1)
        self.colour[box] *= (1 - _shadow(cover, solid.lift * u, self.light))[..., None]
        slope_y, slope_x = np.gradient(solid.height, 1 / u)
        # The box has room for the shadow; the lamp's work is dear, and seen where the item is.
        part = _bounds(cover)
        colour = solid.colour[part] if solid.colour.ndim == 3 else solid.colour
        metal = solid.metal[part] if isinstance(solid.metal, np.ndarray) else solid.metal
        lit = shade(slope_x[part], slope_y[part], colour, metal, self.light)
        below = self.colour[box][part]
        below += cover[part][..., None] * (lit - below)


def cover_of(item: Item, shapes: Shapes, n: int) -> np.ndarray:
    """Where an item lies, (n, n) float32 0..1, whatever lies over it."""
    box, x, y = _grid(item, shapes.reach(item) + 2, n)
    cover = np.zeros((n, n), np.float32)
    cover[box] = np.clip(shapes.draw[item.shape](item, x, y).inside * unit(n) + 0.5, 0, 1)
    return cover


def shade(
    slope_x: np.ndarray,
    slope_y: np.ndarray,
    colour: np.ndarray,
    metal: np.ndarray | float,
    light: tuple[float, float],
) -> np.ndarray:
    """What the camera sees of a surface (h, w) with these slopes: matt plastic, or metal that mirrors a soft box."""
    up = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    aside = -(slope_x * light[0] + slope_y * light[1]) * up * _ASIDE
    lambert = np.clip(aside + up * _UPRIGHT, 0, None)
    mirrored = np.clip(2 * up * aside + (2 * up**2 - 1) * _UPRIGHT, -1, 1)
    towards = np.clip(mirrored, 0, None)
    matt = 0.36 + 0.82 * lambert
    bright = 0.20 + 0.30 * (mirrored + 1) ** 2 / 2 + 0.75 * towards**9
    level = matt + np.asarray(metal) * (bright - matt)
    gloss = (0.10 + 0.25 * np.asarray(metal)) * towards**40
    return np.asarray(colour * level[..., None] + gloss[..., None], np.float32)


def printed(text: str, size: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The ink of a line of text of this size, its middle at (0, 0), on a grid: 0..1."""
    stamp = _stamp(text, size)
    rows = y * _TEXT_SCALE + (stamp.shape[0] - 1) / 2
    columns = x * _TEXT_SCALE + (stamp.shape[1] - 1) / 2
    return np.asarray(ndimage.map_coordinates(stamp, [rows, columns], order=1), np.float32)


def smooth(inside: np.ndarray, width: float = 0.6) -> np.ndarray:
    """A signed distance as cover 0..1, with an edge of this width in nominal pixels."""
    return np.clip(inside / width + 0.5, 0, 1)


def bevel(inside: np.ndarray, width: float, height: float) -> np.ndarray:
    """The height of a thing with a rounded edge of `width`."""
    t = np.clip(inside / width, 0, 1)
    return height * np.sqrt(np.clip(1 - (1 - t) ** 2, 1e-4, None))


def tinted(base: Colour | np.ndarray, over: Colour, share: np.ndarray) -> np.ndarray:
    """The colour (h, w, 3) of `base` with `over` painted on it where `share` is 1."""
    under = np.asarray(base, np.float32)
    return np.asarray(under + share[..., None] * (np.asarray(over, np.float32) - under), np.float32)


@lru_cache(maxsize=64)
def _stamp(text: str, size: float) -> np.ndarray:
    font = ImageFont.load_default(size=size * _TEXT_SCALE)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(image).text((2 - left, 2 - top), text, fill=255, font=font)
    return ndimage.gaussian_filter(np.asarray(image, np.float32) / 255, 0.8)


def _grid(item: Item, reach: float, n: int) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """The box of the canvas round an item and the item's own coordinates x, y (h, w) of its pixels."""
    u = unit(n)
    left, top = (max(0, int((NOMINAL_SIZE / 2 + centre - reach) * u)) for centre in (item.x, item.y))
    right, bottom = (min(n, int((NOMINAL_SIZE / 2 + centre + reach) * u) + 1) for centre in (item.x, item.y))
    across = (np.arange(left, right, dtype=np.float32) + 0.5) / u - NOMINAL_SIZE / 2 - item.x
    down = (np.arange(top, bottom, dtype=np.float32) + 0.5) / u - NOMINAL_SIZE / 2 - item.y
    cos, sin = np.float32(np.cos(item.angle)), np.float32(np.sin(item.angle))
    x = cos * across[None, :] + sin * down[:, None]
    y = cos * down[:, None] - sin * across[None, :]
    return np.s_[top:bottom, left:right], x, y


def _bounds(cover: np.ndarray) -> tuple[slice, slice]:
    """The smallest box that holds all that is covered."""
    rows, columns = (np.flatnonzero(cover.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return np.s_[:0, :0]
    return np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _shadow(cover: np.ndarray, lift: float, light: tuple[float, float]) -> np.ndarray:
    """How much an item `lift` canvas pixels high darkens what is round it: a cast shadow, and one where it touches."""
    down, right = (-light[1] * lift * 0.9, -light[0] * lift * 0.9)
    rows, columns = round(down), round(right)
    moved = ndimage.shift(cover, (rows, columns), order=0)
    cast = ndimage.gaussian_filter(moved, 0.35 * lift + 0.6, truncate=2.5)
    contact = ndimage.gaussian_filter(cover, 0.25 * lift + 0.8, truncate=2.5)
    return np.asarray(1 - (1 - 0.55 * cast) * (1 - 0.35 * contact), np.float32)
