"""What a product is to the rest of the factory, and the geometry that the products share."""

from dataclasses import dataclass

import numpy as np

# All lengths in this package are pixels of an image of this size and are multiplied by the unit of the canvas.
NOMINAL_SIZE = 256


@dataclass
class Part:
    """One product before it lies under the camera, drawn at a multiple of the image's size: n pixels wide.

    Attributes:
        colour: (n, n, 3) uint8 surface.
        cover: (n, n) float32, 1 on the product and 0 beside it and in its through holes; None if it fills the frame.
        light: unit vector (x, y) in the image plane that points to the lamp.
    """

    colour: np.ndarray
    cover: np.ndarray | None
    light: tuple[float, float]


@dataclass(frozen=True)
class Change:
    """Take an element away, or put it elsewhere. severity in 0..1 decides which one, or how far."""

    kind: str
    severity: float
    seed: int


def unit(n: int) -> float:
    """Canvas pixels for one pixel of a 256 px image, for a canvas that is ``n`` pixels wide."""
    return n / NOMINAL_SIZE


def draw_light(rng: np.random.Generator) -> tuple[float, float]:
    """The lamp stands upper left of the line, a few degrees off from image to image."""
    angle = np.deg2rad(225 + rng.uniform(-12, 12))
    return float(np.cos(angle)), float(np.sin(angle))


def centred_grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Open grids x (1, n) and y (n, 1) of pixel centres in nominal pixels, (0, 0) in the middle."""
    axis = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5) * NOMINAL_SIZE
    return axis[None, :], axis[:, None]


def rounded_box(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float, radius: float) -> np.ndarray:
    """Signed distance to a rounded rectangle round the origin, positive inside."""
    dx = np.abs(x) - (half_width - radius)
    dy = np.abs(y) - (half_height - radius)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return radius - outside - np.minimum(np.maximum(dx, dy), 0)


def as_cover(distance: np.ndarray, n: int) -> np.ndarray:
    """Turn a signed distance in nominal pixels into coverage 0..1 with an edge one canvas pixel wide."""
    return np.clip(distance * unit(n) + 0.5, 0, 1).astype(np.float32)
