"""The surface of a part while it is being damaged: where there is room, and how paint and shadow are laid on."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from harmoniad.data.sample.part import NOMINAL_SIZE, Part, unit

Colour = tuple[float, ...] | np.ndarray | float
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Palette:
    """What soils a material, in colours that stand out against it.

    Attributes:
        stains: factors for the colour under a stain; over 1 they bleach.
        objects: colours of what may lie on the part.
    """

    stains: tuple[tuple[float, float, float], ...]
    objects: tuple[tuple[float, float, float], ...]


class Surface:
    """The surface of a part while it is being damaged.

    Attributes:
        colour: (n, n, 3) float32, 0..1.
        footprint: (n, n) float32, how much of each pixel belongs to the defect.
    """

    def __init__(self, part: Part, visibility: float, palette: Palette) -> None:
        self.colour = part.colour.astype(np.float32) / 255
        self.n = self.colour.shape[0]
        self.unit = unit(self.n)
        self.footprint = np.zeros((self.n, self.n), np.float32)
        self.light = part.light
        # A rough material hides what is faint or small: there, defects are this much stronger and larger.
        self.visibility = visibility
        self.palette = palette
        self._cover = part.cover

    def effect(self, faint: float, strong: float, severity: float) -> float:
        """How strong an effect of this severity is, 0..1."""
        return float(np.clip((faint + (strong - faint) * severity) * self.visibility, 0, 1))

    def place(self, rng: np.random.Generator, room: float) -> np.ndarray:
        """A point (x, y) in canvas pixels with the product at it and, if possible, `room` nominal pixels round it."""
        reach = room * self.unit * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
        margin = min(room + 6, 100)
        for _ in range(60):
            point = rng.uniform(margin, NOMINAL_SIZE - margin, size=2) * self.unit
            probes = np.clip(point + reach, 0, self.n - 1).astype(int)
            if self._cover is None or self._cover[probes[:, 1], probes[:, 0]].min() == 1:
                break
            reach = reach * 0.95
        return point

    def multiply(self, alpha: np.ndarray, factor: Colour, strength: float = 1.0) -> None:
        """Darken or tint: where alpha and strength are 1 the colour is multiplied by `factor`."""
        box, alpha = self._on_part(alpha)
        self.colour[box] *= 1 - strength * alpha * (1 - np.asarray(factor, np.float32))

    def paint(self, alpha: np.ndarray, colour: Colour, strength: float = 1.0) -> None:
        """Cover: where alpha and strength are 1 the colour is replaced."""
        box, alpha = self._on_part(alpha)
        self.colour[box] += strength * alpha * (np.asarray(colour, np.float32) - self.colour[box])

    def _on_part(self, alpha: np.ndarray) -> tuple[Box, np.ndarray]:
        """Cut alpha off at the product's outline and note it as defect; give its box and, there, alpha (h, w, 1)."""
        box = _box(alpha)
        alpha = alpha[box] if self._cover is None else alpha[box] * self._cover[box]
        self.footprint[box] = np.maximum(self.footprint[box], alpha)
        return box, alpha[..., None]

    def brush(self, points: np.ndarray, widths: np.ndarray, strengths: np.ndarray | float = 1.0) -> np.ndarray:
        """A line through points (k, 2) whose width (nominal pixels) and strength vary, as alpha (n, n)."""
        image = Image.new("L", (self.n, self.n))
        draw = ImageDraw.Draw(image)
        pixels = np.maximum(np.round(widths * self.unit), 1).astype(int)
        levels = np.broadcast_to(np.clip(np.asarray(strengths) * 255, 0, 255), pixels.shape).astype(int)
        for start, end, width, level in zip(points[:-1], points[1:], pixels, levels, strict=False):
            draw.line((*start, *end), fill=int(level), width=int(width))
            if width > 3:
                draw.circle(tuple(end), width / 2, fill=int(level))
        return np.asarray(image, np.float32) / 255

    def blob(self, outline: np.ndarray, softness: float) -> np.ndarray:
        """A filled outline (k, 2) with an edge of `softness` nominal pixels, as alpha (n, n)."""
        image = Image.new("L", (self.n, self.n))
        ImageDraw.Draw(image).polygon([tuple(point) for point in outline], fill=255)
        return self.soften(np.asarray(image, np.float32) / 255, softness)

    def soften(self, alpha: np.ndarray, softness: float) -> np.ndarray:
        """Blur with a standard deviation in nominal pixels."""
        box = _box(alpha, margin=int(3 * softness * self.unit) + 2)
        image = Image.fromarray((alpha[box] * 255).astype(np.uint8))
        softened = np.zeros_like(alpha)
        softened[box] = np.asarray(image.filter(ImageFilter.GaussianBlur(softness * self.unit)), np.float32) / 255
        return softened

    def moved(self, alpha: np.ndarray, towards_light: float) -> np.ndarray:
        """Shift alpha towards the lamp (or away, if negative) by nominal pixels."""
        right, down = np.round(np.array(self.light) * towards_light * self.unit).astype(int)
        pad = max(abs(right), abs(down))
        return np.pad(alpha, pad)[pad - down : pad - down + self.n, pad - right : pad - right + self.n]


def _box(alpha: np.ndarray, margin: int = 0) -> Box:
    """The rows and columns where alpha is not 0, and `margin` more on each side."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    return slice(top, rows[-1] + 1 + margin), slice(left, columns[-1] + 1 + margin)
