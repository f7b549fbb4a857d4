"""Real materials: three CC0 photographs that scikit-image carries in its wheel, coloured and cut into parts.

Sources, as named in scikit-image's data/README.txt: brick (CC0Textures, Bricks25), gravel (CC0Textures, Gravel04),
grass (linolafett, Grass-01).
"""

from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from harmoniad.data.sample.part import NOMINAL_SIZE, Part, as_cover, centred_grid, draw_light, rounded_box

_GREYS = (0, 60, 110, 150, 190, 255)
# For each material two scales from dark to light. Patches drift between them, as clay, stone and leaves do. Resin fills
# the gaps of the gravel, so its darks are not black.
_SCALES = {
    "brick": (
        ((40, 20, 16), (104, 52, 40), (150, 78, 60), (172, 140, 120), (200, 188, 172), (240, 232, 220)),
        ((44, 24, 24), (96, 50, 46), (138, 76, 66), (168, 142, 126), (196, 188, 176), (238, 232, 224)),
    ),
    "gravel": (
        ((58, 56, 57), (88, 86, 87), (120, 118, 119), (150, 149, 150), (182, 181, 180), (226, 225, 222)),
        ((66, 58, 51), (100, 88, 77), (138, 122, 106), (168, 150, 130), (196, 182, 164), (232, 222, 208)),
    ),
    "grass": (
        ((10, 18, 8), (40, 64, 22), (80, 116, 44), (118, 152, 70), (164, 186, 112), (236, 240, 204)),
        ((14, 18, 6), (56, 62, 24), (104, 108, 50), (146, 142, 78), (186, 178, 118), (244, 238, 206)),
    ),
}


@lru_cache(maxsize=3)
def _photograph(name: str) -> Image.Image:
    """The coloured photograph, 512 px square."""
    import skimage.data

    grey = Image.fromarray(getattr(skimage.data, name)())
    if name == "brick":
        # The paving was taken at a slant: its courses run together towards the top. Straighten them.
        corners = (66, 0, 0, 512, 512, 512, 436, 0)
        grey = grey.transform(grey.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    values = np.asarray(grey)
    rng = np.random.default_rng(0)
    drift = ndimage.gaussian_filter(rng.standard_normal(values.shape, dtype=np.float32), 7, mode="wrap")
    drift = np.clip(0.5 + 0.25 * drift / drift.std(), 0, 1)[..., None]
    first, second = (
        np.stack([np.interp(values, _GREYS, channel) for channel in zip(*scale, strict=True)], axis=-1)
        for scale in _SCALES[name]
    )
    return Image.fromarray((first * (1 - drift) + second * drift).astype(np.uint8))


def _cut(
    name: str, rng: np.random.Generator, n: int, *, field: float, max_angle: float, zoom: float = 0.05
) -> np.ndarray:
    """Cut a square at a random place, angle and scale out of a photograph.

    Args:
        field: Side of the square in pixels of the photograph, varied by the share `zoom`.
        max_angle: Largest rotation in degrees. Turning the square over (mirror, half turn) comes on top.

    Returns:
        (n, n, 3) uint8.
    """
    photograph = _photograph(name)
    side = field * rng.uniform(1 - zoom, 1 + zoom)
    angle = np.deg2rad(rng.uniform(-max_angle, max_angle))
    mirror, half_turn = rng.choice((-1, 1), size=2)
    cos, sin = np.cos(angle), np.sin(angle)
    room = photograph.width / 2 - side / 2 * (abs(cos) + abs(sin)) - 1
    centre = photograph.width / 2 + rng.uniform(-room, room, size=2)
    step = side / n
    a, b = step * cos * mirror * half_turn, -step * sin * half_turn
    d, e = step * sin * mirror * half_turn, step * cos * half_turn
    offset = centre - np.array([a + b, d + e]) * n / 2
    matrix = (a, b, offset[0], d, e, offset[1])
    return np.array(photograph.transform((n, n), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def brick(rng: np.random.Generator, n: int) -> Part:
    """A clinker panel that fills the frame, held straight."""
    return Part(_cut("brick", rng, n, field=330, max_angle=3), None, draw_light(rng))


def grass(rng: np.random.Generator, n: int) -> Part:
    """A turf mat that fills the frame and lies with the mower or against it."""
    return Part(_cut("grass", rng, n, field=280, max_angle=15, zoom=0.02), None, draw_light(rng))


def gravel(rng: np.random.Generator, n: int) -> Part:
    """A slab of bound gravel with sawn, rounded edges."""
    colour = _cut("gravel", rng, n, field=300, max_angle=15, zoom=0.02)
    light = draw_light(rng)
    rows, columns, slope, cover = _slab(n)
    # The rounded edge is bright towards the lamp and dark away from it.
    shade = 1 + 0.35 * (slope[0] * light[0] + slope[1] * light[1]) - 0.15 * np.hypot(*slope)
    colour[rows, columns] = np.clip(colour[rows, columns] * shade[:, None], 0, 255)
    return Part(colour, cover, light)


@lru_cache(maxsize=2)
def _slab(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows (k,), columns (k,) and downhill slope (2, k) of the slab's rounded edge, and its cover (n, n)."""
    x, y = centred_grid(n)
    inside = rounded_box(x, y, 108, 108, 14)
    down_y, down_x = np.gradient(-inside, NOMINAL_SIZE / n)
    steepness = np.clip(1 - inside / 5, 0, 1)
    rows, columns = np.nonzero(steepness)
    slope = np.stack([down_x, down_y])[:, rows, columns] * steepness[rows, columns]
    return rows, columns, slope, as_cover(inside, n)
