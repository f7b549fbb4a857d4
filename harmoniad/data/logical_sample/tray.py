"""The tray of the assembly kit: a moulded plate of plastic with six compartments."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from harmoniad.data.logical_sample.scene import shade
from harmoniad.data.sample.part import as_cover, centred_grid, rounded_box, unit

_OUTER = (119.0, 119.0, 9.0)
_WALL = 9.0


@dataclass(frozen=True)
class Compartment:
    """A box of the tray, nominal pixels from its middle."""

    left: float
    top: float
    right: float
    bottom: float

    def inside(self, n: int) -> np.ndarray:
        """Signed distance (n, n) to its edge, positive inside, in nominal pixels."""
        x, y = centred_grid(n)
        half_width, half_height = (self.right - self.left) / 2, (self.bottom - self.top) / 2
        return rounded_box(x - (self.left + half_width), y - (self.top + half_height), half_width, half_height, 6.0)


COMPARTMENTS = {
    "nuts": Compartment(-111, -111, -40, -37),
    "washers": Compartment(-34, -111, 32, -37),
    "tag": Compartment(38, -111, 111, -37),
    "screws": Compartment(-111, -31, 32, 45),
    "cable": Compartment(38, -31, 111, 45),
    "rod": Compartment(-111, 51, 111, 111),
}


@dataclass(frozen=True)
class _Mould:
    slope_x: np.ndarray
    slope_y: np.ndarray
    walls: np.ndarray
    dimmed: np.ndarray
    cover: np.ndarray
    grain: np.ndarray


def tray(rng: np.random.Generator, n: int, light: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """An empty tray: its colour (n, n, 3) float32 0..1, and its cover (n, n)."""
    mould = _mould(n)
    top, left = rng.integers(n // 2, size=2)
    grain = mould.grain[top : top + n, left : left + n]
    tone = 0.25 * rng.uniform(0.94, 1.06)
    grey = tone * (1 + 0.035 * grain) * mould.dimmed
    tint = np.array([0.88, 0.99, 1.13], np.float32) * (1 + rng.uniform(-0.01, 0.01, size=3)).astype(np.float32)
    u = unit(n)
    moved = ndimage.shift(mould.walls, (-round(light[1] * 5 * u), -round(light[0] * 5 * u)), order=0)
    cast = ndimage.gaussian_filter(moved, 1.6 * u, truncate=2.5) * (1 - mould.walls)
    colour = shade(mould.slope_x, mould.slope_y, grey[..., None] * tint, 0.10, light)
    colour *= (1 - 0.42 * cast)[..., None]
    return colour, mould.cover


@lru_cache(maxsize=2)
def _mould(n: int) -> _Mould:
    x, y = centred_grid(n)
    outer = rounded_box(x, y, *_OUTER)
    inside = np.maximum.reduce([compartment.inside(n) for compartment in COMPARTMENTS.values()])
    # Walls are rounded above and meet the floor in a fillet.
    fall = np.clip((inside + 1.5) / 4.5, 0, 1)
    height = -_WALL * 0.5 * fall**2 * (3 - 2 * fall) + 2.5 * np.clip(outer / 2.5, 0, 1) ** 0.5
    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(height, 0.4 * unit(n)), 1 / unit(n))
    walls = np.clip(0.5 - inside / 1.5, 0, 1)
    dimmed = 1 - 0.28 * np.exp(-np.maximum(inside, 0) / 5) * (inside > 0) - 0.10 * (inside > 0)
    noise = np.random.default_rng(5).standard_normal((n * 3 // 2, n * 3 // 2), dtype=np.float32)
    grain = ndimage.gaussian_filter(noise, 0.5 * unit(n), mode="wrap")
    cloud = ndimage.gaussian_filter(noise, 7 * unit(n), mode="wrap")
    grain = grain / grain.std() + 0.4 * cloud / cloud.std()
    arrays = (slope_x, slope_y, walls, dimmed, as_cover(outer, n), grain)
    return _Mould(*(array.astype(np.float32) for array in arrays))
