"""The bare board: green solder mask over copper tracks, tinned pads, plated holes and white print."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from harmoniad.data.logical_sample.components import PITCH
from harmoniad.data.logical_sample.scene import shade
from harmoniad.data.sample.part import NOMINAL_SIZE, as_cover, centred_grid, rounded_box, unit

_OUTER = (118.0, 112.0, 5.0)
HOLES = ((-106.0, -100.0), (106.0, -100.0), (-106.0, 100.0), (106.0, 100.0))
Place = tuple[float, float]
# Where there are footprints of two-ended components, the header, the diodes, the chip, the large part and the label.
SLOTS: tuple[Place, ...] = tuple((x, y) for y in (52.0, 84.0) for x in (-82.0, -46.0, -10.0, 26.0))
HEADER: Place = (-46.0, -84.0)
HEADER_PINS, SPARE_PINS = 7, 4
SPARE: Place = (102.0, 10.0)
DIODES: tuple[Place, ...] = ((44.0, -84.0), (80.0, -84.0))
CHIP: Place = (-44.0, -10.0)
LARGE: Place = (52.0, -18.0)
LABEL: Place = (81.0, 72.0)


@dataclass(frozen=True)
class _Layers:
    slope_x: np.ndarray
    slope_y: np.ndarray
    copper: np.ndarray
    tin: np.ndarray
    white: np.ndarray
    cover: np.ndarray
    weave: np.ndarray


def bare_board(rng: np.random.Generator, n: int, light: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A board without components: its colour (n, n, 3) float32 0..1, and its cover (n, n)."""
    layers = _layers(n)
    green = np.array([0.045, 0.235, 0.115]) * rng.uniform(0.92, 1.10) * (1 + rng.uniform(-0.03, 0.03, size=3))
    track = green * 1.45 + np.array([0.02, 0.03, 0.0])
    colour = green + layers.copper[..., None] * (track - green)
    top, left = rng.integers(n // 2, size=2)
    colour *= (1 + 0.03 * layers.weave[top : top + n, left : left + n])[..., None]
    white = (0.82, 0.83, 0.80)
    colour += (layers.white * rng.uniform(0.80, 0.92))[..., None] * (white - colour)
    colour += layers.tin[..., None] * (np.array([0.73, 0.72, 0.68]) - colour)
    seen = shade(layers.slope_x, layers.slope_y, colour.astype(np.float32), 0.08 + 0.72 * layers.tin, light)
    return seen, layers.cover


class _Plotter:
    """Draws on a layer in nominal pixels."""

    def __init__(self, n: int) -> None:
        self._unit = unit(n)
        self.image = Image.new("L", (n, n))
        self._draw = ImageDraw.Draw(self.image)

    def _at(self, *points: float) -> list[float]:
        return [(point + NOMINAL_SIZE / 2) * self._unit for point in points]

    def box(self, x: float, y: float, half: Place) -> None:
        self._draw.rectangle(self._at(x - half[0], y - half[1], x + half[0], y + half[1]), fill=255)

    def frame(self, x: float, y: float, half: Place) -> None:
        corners = self._at(x - half[0], y - half[1], x + half[0], y + half[1])
        self._draw.rectangle(corners, outline=255, width=max(1, round(0.9 * self._unit)))

    def disc(self, x: float, y: float, radius: float, fill: int = 255) -> None:
        self._draw.ellipse(self._at(x - radius, y - radius, x + radius, y + radius), fill=fill)

    def ring(self, x: float, y: float, radius: float) -> None:
        corners = self._at(x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse(corners, outline=255, width=max(1, round(0.9 * self._unit)))

    def line(self, points: list[Place], width: float) -> None:
        flat = self._at(*(value for point in points for value in point))
        self._draw.line(flat, fill=255, width=max(1, round(width * self._unit)), joint="curve")

    def text(self, x: float, y: float, size: float, text: str) -> None:
        font = ImageFont.load_default(size=size * self._unit)
        left, top = self._at(x, y)
        self._draw.text((left, top), text, fill=255, font=font, anchor="mm")

    def done(self) -> np.ndarray:
        return np.asarray(self.image, np.float32) / 255


@lru_cache(maxsize=2)
def _layers(n: int) -> _Layers:
    x, y = centred_grid(n)
    copper, tin, white, drilled = (_Plotter(n) for _ in range(4))
    _tracks(copper, tin, drilled)
    _footprints(tin, white, drilled)
    cover = rounded_box(x, y, *_OUTER)
    for left, top in HOLES:
        tin.disc(left, top, 8.0)
        cover = np.minimum(cover, np.hypot(x - left, y - top) - 4.5)
    bore = drilled.done()
    soft = ndimage.gaussian_filter(copper.done(), 0.3 * unit(n))
    height = 0.45 * soft + 0.7 * ndimage.gaussian_filter(tin.done(), 0.5 * unit(n)) - 1.2 * bore
    height = height + np.clip(cover, 0, 1.2)
    slope_y, slope_x = np.gradient(height, 1 / unit(n))
    noise = np.random.default_rng(6).standard_normal((n * 3 // 2, n * 3 // 2), dtype=np.float32)
    u = unit(n)
    weave = ndimage.gaussian_filter(noise, (0.4 * u, 2.5 * u), mode="wrap")
    weave = weave + ndimage.gaussian_filter(noise[::-1], (2.5 * u, 0.4 * u), mode="wrap")
    arrays = (
        slope_x,
        slope_y,
        soft,
        tin.done() * (1 - 0.85 * bore),
        white.done(),
        as_cover(cover, n),
        weave / weave.std(),
    )
    return _Layers(*(array.astype(np.float32) for array in arrays))


def _footprints(tin: _Plotter, white: _Plotter, drilled: _Plotter) -> None:
    for k, (x, y) in enumerate(SLOTS):
        for side in (-1, 1):
            tin.box(x + side * 10.5, y, (4.0, 6.2))
        white.frame(x, y, (16.5, 9.0))
        white.text(x, y - 14.0, 8, f"Z{k + 1}")
    for (x, y), pins, down, name in ((HEADER, HEADER_PINS, False, "J1"), (SPARE, SPARE_PINS, True, "J2")):
        for k in range(pins):
            offset = (k - (pins - 1) / 2) * PITCH
            at = (x, y + offset) if down else (x + offset, y)
            tin.disc(*at, 4.4)
            drilled.disc(*at, 2.0)
        half = (9.5, pins * PITCH / 2 + 2) if down else (pins * PITCH / 2 + 2, 9.5)
        white.frame(x, y, half)
        white.text(x, y - half[1] - 6, 8, name)
    for k, (x, y) in enumerate(DIODES):
        white.ring(x, y, 13.0)
        white.text(x, y + 19.0, 8, f"D{k + 1}")
    white.frame(*CHIP, (35.0, 15.0))
    white.ring(*LARGE, 27.0)
    white.text(LARGE[0] + 30, LARGE[1] - 25, 9, "L1")
    white.text(CHIP[0] - 42, CHIP[1] - 25, 9, "U1")
    white.text(10, 105, 8, "HARMONIA 204")


def _tracks(copper: _Plotter, tin: _Plotter, drilled: _Plotter) -> None:
    """Tracks from the chip's pins and the footprints outwards, with plated holes at some ends."""
    rng = np.random.default_rng(7)
    starts = [(CHIP[0] + (k - 3.5) * 7, CHIP[1] + side * 22, side) for k in range(8) for side in (-1, 1)]
    starts += [(x + side * 10.5, y, int(rng.choice((-1, 1)))) for x, y in SLOTS for side in (-1, 1)]
    starts += [(x + offset, y, 1) for x, y in (*DIODES, LARGE) for offset in (-8, 8)]
    for x, y, side in starts:
        down = y + side * rng.uniform(14, 30)
        step = rng.choice((-1, 1)) * rng.uniform(6, 14)
        far = float(np.clip(x + step + np.sign(step) * rng.uniform(4, 40), -108, 108))
        down = float(np.clip(down, -96, 96))
        end = float(np.clip(down + side * abs(step), -100, 100))
        copper.line([(x, y), (x, down), (x + step, end), (far, end)], 1.9)
        if rng.random() < 0.7 and end < 32:
            tin.disc(far, end, 2.4)
            drilled.disc(far, end, 1.1)
    for k in range(5):
        copper.line([(96 - 5 * k, -108 + 5 * k), (96 - 5 * k, 20 - 5 * k), (70 - 5 * k, 46 - 5 * k)], 1.9)
