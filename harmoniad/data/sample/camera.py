"""From a part to a picture: place it on the line, light it, focus not quite right, and read the sensor out."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from harmoniad.data.sample.part import NOMINAL_SIZE, Part


@dataclass(frozen=True)
class Fixture:
    """How exactly the line presents a part, and what lies under it.

    Attributes:
        background: "belt", "cardboard", or None for a part that fills the frame (its own cut varies, so it stays put).
        angle: standard deviation in degrees.
        shift: standard deviation in nominal pixels.
        height: how far the part stands over the background, in nominal pixels; sets its shadow.
        unsteady: how much the lamp and the white balance vary; 1 for a line that the daylight reaches.
        any_angle: whether the part lies at any angle, seen from farther away so that all of it stays in the picture
            (from nearer, if it fills the frame). Its own shading turns with it, as if lit by a lamp on the part.
        smooth: whether turning it keeps straight edges smooth, for parts drawn at little more than the image's size.
    """

    background: str | None = None
    angle: float = 0.0
    shift: float = 0.0
    height: float = 0.0
    unsteady: float = 1.0
    any_angle: bool = False
    smooth: bool = False


def photograph(part: Part, fixture: Fixture, size: int, rng: np.random.Generator) -> np.ndarray:
    """Take the picture, without noise. The same generator state gives the same pose, light and focus.

    Returns:
        (size, size, 3) float32, 0..1 within what the sensor can hold.
    """
    pose = _draw_pose(fixture, part.colour.shape[0], rng)
    if part.cover is None:
        frame = _posed(part.colour, pose, size, fixture.smooth)
    else:
        frame = _place(part, part.cover, pose, fixture, _background(fixture.background, size, rng))
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    gradient, direction = fixture.unsteady * rng.uniform(0.02, 0.12), rng.uniform(0, 2 * np.pi)
    vignette, exposure = rng.uniform(0.04, 0.12), 1 + fixture.unsteady * rng.uniform(-0.07, 0.07)
    light = 1 + gradient * (np.cos(direction) * x + np.sin(direction) * y) - vignette * (x**2 + y**2)
    white_balance = 1 + fixture.unsteady * rng.normal(0, 0.008, size=3)
    frame *= (light[..., None] * (exposure * white_balance)).astype(np.float32)
    focus = rng.uniform(0.35, 0.75) * size / NOMINAL_SIZE
    return np.clip(ndimage.gaussian_filter(frame, (focus, focus, 0), truncate=3), 0, 1)


def read_out(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the noise of the light and of the amplifier, and quantise: (size, size, 3) uint8."""
    gain = rng.uniform(0.8, 1.3)
    sigma = gain * np.sqrt(0.004**2 + 0.010**2 * frame)
    noise = rng.standard_normal(frame.shape, dtype=np.float32) * sigma
    return np.clip((frame + noise) * 255 + 0.5, 0, 255).astype(np.uint8)


def locate(footprint: np.ndarray, fixture: Fixture, size: int, rng: np.random.Generator) -> np.ndarray:
    """Where the camera sees a region (n, n) of the surface: (size, size) 0..1. The generator as for `photograph`."""
    return _posed(footprint, _draw_pose(fixture, footprint.shape[0], rng), size, fixture.smooth)


def _draw_pose(fixture: Fixture, n: int, rng: np.random.Generator) -> tuple[float, ...]:
    """How the part lies: the affine matrix from picture to surface, (a, b, c, d, e, f) as Pillow wants it."""
    angle = np.deg2rad(fixture.angle * np.clip(rng.standard_normal(), -2.5, 2.5))
    shift = fixture.shift * np.clip(rng.standard_normal(2), -2.5, 2.5) * n / NOMINAL_SIZE
    zoom = 1.0
    if fixture.any_angle:
        angle, zoom = rng.uniform(0, 2 * np.pi), 2 ** (0.5 if fixture.background else -0.5)
    cos, sin = zoom * float(np.cos(angle)), zoom * float(np.sin(angle))
    left = n / 2 - (cos + sin) * n / 2 - float(shift[0])
    top = n / 2 - (cos - sin) * n / 2 - float(shift[1])
    return cos, sin, left, -sin, cos, top


def _posed(surface: np.ndarray, pose: tuple[float, ...], size: int, smooth: bool) -> np.ndarray:
    """Turn and shift a surface, uint8 or float 0..1, and average it down to the size of the image: float32, 0..1."""
    image = Image.fromarray(surface if surface.dtype == np.uint8 else (surface * 255 + 0.5).astype(np.uint8))
    if pose != (1, 0, 0, 0, 1, 0):
        resampling = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        image = image.transform(image.size, Image.Transform.AFFINE, pose, resampling)
    return np.asarray(image.reduce(image.width // size), np.float32) / 255


def _place(part: Part, cover: np.ndarray, pose: tuple[float, ...], fixture: Fixture, ground: np.ndarray) -> np.ndarray:
    """Lay the part on its background, on which it throws a shadow."""
    size = ground.shape[0]
    alpha = _posed(cover, pose, size, fixture.smooth)
    height = fixture.height * size / NOMINAL_SIZE
    shadow = ndimage.shift(alpha, (-height * part.light[1], -height * part.light[0]), order=1)
    shadow = ndimage.gaussian_filter(shadow, 0.5 * height + 0.5)
    ground = ground * (1 - 0.65 * shadow)[..., None]
    return ground + alpha[..., None] * (_posed(part.colour, pose, size, fixture.smooth) - ground)


def _background(name: str | None, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random piece of a rubber belt or of cardboard, (size, size, 3) float32."""
    fine, coarse, lines = _textures(size)
    top, left = rng.integers(size, size=2)
    piece = np.s_[top : top + size, left : left + size]
    if name == "belt":
        grey = 0.13 + 0.010 * fine[piece] + 0.012 * coarse[piece]
        return grey[..., None] * np.array([0.95, 1.0, 1.06], np.float32)
    grey = 1 + 0.035 * fine[piece] + 0.015 * coarse[piece] + 0.015 * lines[piece]
    return grey[..., None] * np.array([0.60, 0.48, 0.36], np.float32)


@lru_cache(maxsize=2)
def _textures(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fine grain, clouds and fluting, each (2 size, 2 size) float32 with unit variance."""
    scale = size / NOMINAL_SIZE
    noise = np.random.default_rng(4).standard_normal((2 * size, 2 * size), dtype=np.float32)
    layers = [ndimage.gaussian_filter(noise, sigma, mode="wrap") for sigma in (0.6 * scale, 6 * scale)]
    layers.append(ndimage.gaussian_filter(noise, (2 * scale, 40 * scale), mode="wrap"))
    fine, coarse, lines = (layer / layer.std() for layer in layers)
    return fine, coarse, lines
