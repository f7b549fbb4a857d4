"""A machined flange: brushed aluminium with a bore, bolt holes, dowel holes, a milled slot and an engraving."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from harmoniad.data.sample.part import Change, Part, as_cover, centred_grid, draw_light, rounded_box, unit

_PLATE = (106.0, 106.0, 18.0)
_BORE_RADIUS, _RECESS_RADIUS = 34.0, 50.0
_CHAMFER = 2.6


@dataclass(frozen=True)
class Feature:
    """A hole, slot or engraving. Lengths in nominal pixels from the middle of the plate; a hole has no half_length."""

    name: str
    x: float
    y: float
    radius: float
    half_length: float = 0.0


FEATURES = (
    Feature("pin", 0, -70, 3.2),
    Feature("dowel_left", -82, 22, 5.0),
    Feature("dowel_right", 82, -22, 5.0),
    Feature("engraving", 0, -90, 8.0),
    Feature("bolt_1", -76, -76, 11.0),
    Feature("bolt_2", 76, -76, 11.0),
    Feature("bolt_3", -76, 76, 11.0),
    Feature("bolt_4", 76, 76, 11.0),
    Feature("slot", 0, 79, 8.5, 26.0),
)


@dataclass(frozen=True)
class Relief:
    """The shape of the plate as arrays (n, n) float32.

    Attributes:
        slope: (2, n, n) downhill direction times steepness.
        shade: how much light reaches the surface, 0..1.
        cover: 1 on metal, 0 beside the plate and in its through holes.
        turned: 1 where a lathe left concentric marks instead of the brush.
    """

    slope: np.ndarray
    shade: np.ndarray
    cover: np.ndarray
    turned: np.ndarray


def machined_part(rng: np.random.Generator, n: int, change: Change | None = None) -> Part:
    """Draw the flange; `change` takes a feature away or mills it in the wrong place."""
    features = FEATURES if change is None else tuple(_changed(FEATURES, change))
    relief = _relief(features, n)
    light = draw_light(rng)
    x, y = centred_grid(n)
    brushed = _crop(_brush_marks(n), rng, n)
    turned = _turning_marks(n)
    marks = brushed + relief.turned * (turned - brushed)
    # Brushed metal throws back a broad band of light across the brush; where it lies depends on the tilt of the part.
    tilt = rng.uniform(-0.3, 0.3)
    band = np.exp(-(((x + tilt * y - rng.uniform(-60, 60)) / rng.uniform(70, 110)) ** 2))
    metal = rng.uniform(0.50, 0.56) + rng.uniform(0.07, 0.13) * band + rng.uniform(0.020, 0.032) * marks
    facing = relief.slope[0] * light[0] + relief.slope[1] * light[1]
    grey = (metal * relief.shade + 0.38 * facing) * 255
    tint = np.array([0.985, 1.0, 1.02]) + rng.uniform(-0.01, 0.01, size=3)
    levels = np.arange(256) / 255
    table = np.clip(levels[:, None] * tint * 255, 0, 255).astype(np.uint8)
    return Part(table[np.clip(grey, 0, 255).astype(np.uint8)], relief.cover, light)


def _changed(features: Sequence[Feature], change: Change) -> list[Feature]:
    """Missing: the more severe, the larger the feature. Misplaced: the more severe, the farther."""
    rng = np.random.default_rng(change.seed)
    if change.kind == "missing_element":
        gone = round(np.clip(change.severity + rng.uniform(-0.1, 0.1), 0, 1) * (len(features) - 1))
        return [feature for i, feature in enumerate(features) if i != gone]
    moved = int(rng.integers(len(features)))
    feature = features[moved]
    distance = 3 + 22 * change.severity
    # Towards the middle in one direction or the other, so that nothing leaves the plate.
    angle = np.arctan2(-feature.y, -feature.x) + rng.uniform(-1, 1)
    shifted = replace(
        feature, x=feature.x + distance * float(np.cos(angle)), y=feature.y + distance * float(np.sin(angle))
    )
    return [*features[:moved], shifted, *features[moved + 1 :]]


@lru_cache(maxsize=2)
def _relief(features: tuple[Feature, ...], n: int) -> Relief:
    x, y = centred_grid(n)
    step = float(x[0, 1] - x[0, 0])
    bore = np.hypot(x, y)
    metal = np.minimum(rounded_box(x, y, *_PLATE), bore - _BORE_RADIUS)
    recess = _RECESS_RADIUS - bore
    pocket = np.full((n, n), -np.inf, np.float32)
    engraving = np.zeros((n, n), np.float32)
    for feature in features:
        if feature.name == "engraving":
            engraving = _engraved_text(feature, n)
            continue
        along = np.maximum(np.abs(x - feature.x) - feature.half_length, 0)
        hole = feature.radius - np.hypot(along, y - feature.y)
        if feature.half_length:
            pocket = np.maximum(pocket, hole)
        else:
            metal = np.minimum(metal, -hole)

    slope = _wall(metal, _CHAMFER, step) - _wall(recess, 1.8, step) * 0.8 - _wall(pocket, 1.6, step)
    slope += 1.6 * np.stack(np.gradient(ndimage.gaussian_filter(engraving, 0.35 / step), step)[::-1])
    depth = 0.14 * np.clip(pocket / 2 + 0.5, 0, 1) + 0.05 * np.clip(recess / 2 + 0.5, 0, 1) + 0.30 * engraving
    # Little light reaches the foot of the pocket's wall.
    depth += 0.30 * np.exp(-np.maximum(pocket, 0) / 2.5) * (pocket > 0)
    turned = np.clip(recess / 2 + 0.5, 0, 1)
    return Relief(slope.astype(np.float32), (1 - depth).astype(np.float32), as_cover(metal, n), turned)


def _wall(distance: np.ndarray, width: float, step: float) -> np.ndarray:
    """Slope (2, n, n) of an edge that falls off over `width` where `distance` comes down to 0."""
    steepness = np.clip(1 - np.abs(distance) / width, 0, 1) ** 0.7
    finite = np.maximum(distance, -4 * width)
    down_y, down_x = np.gradient(-finite, step)
    return np.stack([down_x, down_y]) * steepness


def _engraved_text(feature: Feature, n: int) -> np.ndarray:
    image = Image.new("L", (n, n))
    font = ImageFont.load_default(size=12 * unit(n))
    where = (n / 2 + feature.x * unit(n), n / 2 + feature.y * unit(n))
    ImageDraw.Draw(image).text(where, "HX-204 B", fill=255, font=font, anchor="mm")
    return np.asarray(image, np.float32) / 255


@lru_cache(maxsize=2)
def _brush_marks(n: int) -> np.ndarray:
    """Fine lines along x, (1.5 n, 1.5 n), unit variance."""
    noise = np.random.default_rng(1).standard_normal((n * 3 // 2, n * 3 // 2), dtype=np.float32)
    u = unit(n)
    long = ndimage.gaussian_filter(noise, (0.25 * u, 30 * u), mode="wrap")
    short = ndimage.gaussian_filter(noise[::-1], (0.2 * u, 6 * u), mode="wrap")
    return long / long.std() + 0.6 * short / short.std()


@lru_cache(maxsize=2)
def _turning_marks(n: int) -> np.ndarray:
    """Rings round the bore, (n, n), unit variance."""
    x, y = centred_grid(n)
    profile = np.random.default_rng(2).standard_normal(400)
    return np.interp(np.hypot(x, y), np.arange(400) * 0.45, profile).astype(np.float32)


def _crop(texture: np.ndarray, rng: np.random.Generator, n: int) -> np.ndarray:
    top, left = rng.integers(texture.shape[0] - n, size=2)
    return texture[top : top + n, left : left + n]
