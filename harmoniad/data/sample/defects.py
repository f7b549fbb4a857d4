"""Damage and dirt, painted onto the surface of a part the way light would show it.

Every kind is a function of a `Surface`, which it changes, a severity in 0..1 (from barely visible to obvious) and a
generator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from harmoniad.data.sample.part import NOMINAL_SIZE, Part, unit

T = TypeVar("T")
Colour = tuple[float, ...] | np.ndarray | float
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Palette:
    """What soils a material, in colours that stand out against it.

    Attributes:
        stains: factors for the colour under a stain; over 1 they bleach.
        objects: colours of what may lie on the part.
    """

    stains: tuple[tuple[float, float, float], ...] = (
        (0.45, 0.36, 0.22),
        (0.55, 0.30, 0.14),
        (0.22, 0.26, 0.42),
        (0.25, 0.25, 0.25),
    )
    objects: tuple[tuple[float, float, float], ...] = (
        (0.10, 0.14, 0.45),
        (0.93, 0.92, 0.88),
        (0.55, 0.08, 0.10),
        (0.07, 0.07, 0.07),
        (0.42, 0.30, 0.18),
    )


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


def scratch(surface: Surface, severity: float, rng: np.random.Generator) -> None:
    """A gouge, drawn in one move: dark in the groove, bright on the lip that faces the lamp."""
    length = (30 + 110 * severity * rng.uniform(0.8, 1)) * surface.unit
    start = surface.place(rng, 14)
    angle = _towards_middle(surface, start, rng)
    along = np.linspace(0, 1, 40)
    bend = rng.normal(0, 0.05) * length
    wobble = np.cumsum(rng.normal(0, 0.06, size=40)) * surface.unit
    points = _line(start, angle, along * length, bend * 4 * along * (1 - along) + wobble)
    taper = np.sin(np.pi * np.clip(along, 0.03, 0.97)) ** 0.6
    width = (1.6 + 3.6 * severity * rng.uniform(0.7, 1)) * surface.visibility * taper
    # The tool presses unevenly.
    pressure = np.clip(1 + 0.35 * np.cumsum(rng.normal(0, 0.25, size=40)), 0.65, 1) * taper
    groove = surface.brush(points, width, pressure)
    lip = surface.moved(surface.brush(points, 0.8 * width, pressure), -0.5 * width.max() - 0.5)
    surface.paint(lip, 0.96, surface.effect(0.30, 0.85, severity))
    surface.multiply(groove, 0.15, surface.effect(0.45, 0.95, severity))


def crack(surface: Surface, severity: float, rng: np.random.Generator) -> None:
    """A branching random walk, thin and dark; one flank catches the light."""
    steps = int(11 + 31 * severity * rng.uniform(0.8, 1))
    start = surface.place(rng, 14)
    branches = [(start, _towards_middle(surface, start, rng), steps, (1.4 + 3.6 * severity) * surface.visibility)]
    dark, bright = surface.effect(0.50, 0.92, severity), surface.effect(0.20, 0.50, severity)
    while branches:
        point, heading, steps, width = branches.pop()
        points = [point]
        for step in range(steps):
            heading += rng.normal(0, 0.35)
            point = point + 3.2 * surface.unit * np.array([np.cos(heading), np.sin(heading)])
            points.append(point)
            if step > 3 and rng.random() < 0.05 + 0.04 * severity:
                side = heading + rng.choice((-1, 1)) * rng.uniform(0.5, 1.0)
                branches.append((point, side, (steps - step) // 2, 0.7 * width))
        widths = np.linspace(width, 0.35 * width, len(points))
        line = surface.brush(np.array(points), widths)
        surface.paint(surface.moved(line, -0.8), 0.9, bright)
        surface.multiply(line, 0.12, dark)


def stain(surface: Surface, severity: float, rng: np.random.Generator) -> None:
    """Oil, rust or ink that soaked in: multiplies the colour, soft at the edge, darker at its rim."""
    tint = _choose(rng, surface.palette.stains)
    radius = (9 + 23 * severity) * rng.uniform(0.9, 1.1)
    outline = _outline(surface.place(rng, radius), radius * surface.unit, 0.22, rng)
    area = surface.blob(outline, radius * rng.uniform(0.10, 0.22))
    rim = np.clip(4 * area * (1 - area), 0, 1)
    surface.multiply(area, tint, surface.effect(0.18, 0.85, severity))
    surface.multiply(rim * area, tint, surface.effect(0.05, 0.25, severity))


def hole(surface: Surface, severity: float, rng: np.random.Generator) -> None:
    """A pit: dark, darkest under the edge next to the lamp; the far edge is lit."""
    radius = (3.0 + 11.5 * severity) * rng.uniform(0.9, 1.1) * surface.visibility
    outline = _outline(surface.place(rng, radius + 2), radius * surface.unit, 0.16, rng)
    pit = surface.blob(outline, 0.35)
    depth = surface.effect(0.60, 0.95, severity)
    lit_rim = np.clip(surface.moved(pit, -1.1) - pit, 0, 1)
    shaded_rim = np.clip(surface.moved(pit, 0.9) - pit, 0, 1)
    shadow = pit * (1 - surface.soften(surface.moved(pit, -0.7 * radius), 0.2 * radius))
    surface.multiply(pit, 0.38, depth)
    surface.multiply(shadow, 0.20, depth)
    surface.paint(lit_rim, 0.97, 0.55 * depth)
    surface.multiply(shaded_rim, 0.5, 0.4 * depth)


def contamination(surface: Surface, severity: float, rng: np.random.Generator) -> None:
    """Something that lies on the part: a fibre or wire, a droplet, crumbs or a fragment."""
    _choose(rng, (_fibre, _droplet, _crumbs, _fragment))(surface, severity, rng)


def _fibre(surface: Surface, severity: float, rng: np.random.Generator) -> None:
    colour = _choose(rng, surface.palette.objects)
    count = int(14 + 40 * severity)
    headings = rng.uniform(0, 2 * np.pi) + np.cumsum(np.cumsum(rng.normal(0, 0.05, size=count)) + rng.normal(0, 0.03))
    steps = 2.0 * surface.unit * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    points = np.cumsum(steps, axis=0)
    points += surface.place(rng, 30) - points.mean(axis=0)
    fibre = surface.brush(points, np.full(count, (1.2 + 3.0 * severity) * surface.visibility))
    shadow = surface.soften(surface.moved(fibre, -1.5), 0.6)
    surface.multiply(shadow, 0.3, surface.effect(0.20, 0.45, severity))
    surface.paint(fibre, colour, surface.effect(0.50, 0.95, severity))


def _droplet(surface: Surface, severity: float, rng: np.random.Generator) -> None:
    """A lens: dark under the lamp, bright on the far side, with the lamp mirrored in it."""
    radius = (4.0 + 15.0 * severity) * rng.uniform(0.9, 1.1) * surface.visibility**0.5
    centre = surface.place(rng, radius + 2)
    drop = surface.blob(_outline(centre, radius * surface.unit, 0.05, rng), 0.3)
    strength = surface.effect(0.45, 0.95, severity)
    axis = np.arange(surface.n, dtype=np.float32)
    across = (axis - centre[0]) * surface.light[0] + (axis[:, None] - centre[1]) * surface.light[1]
    across = np.clip(across / (radius * surface.unit), -1, 1)
    shadow = np.clip(surface.soften(surface.moved(drop, -0.25 * radius), 0.15 * radius) - drop, 0, 1)
    surface.multiply(shadow, 0.3, 0.6 * strength)
    surface.multiply(drop * (0.25 + 0.50 * np.clip(across + 0.2, 0, 1)), 0.25, strength)
    surface.paint(drop * np.clip(-across - 0.1, 0, 1), 1.0, 0.45 * strength)
    mirrored = centre + 0.45 * radius * surface.unit * np.array(surface.light)
    lamp = surface.blob(_outline(mirrored, 0.16 * radius * surface.unit, 0.1, rng), 0.2)
    surface.paint(lamp, 1.0, strength)


def _crumbs(surface: Surface, severity: float, rng: np.random.Generator) -> None:
    colour = _choose(rng, surface.palette.objects)
    centre = surface.place(rng, 16)
    for _ in range(int(3 + 9 * severity)):
        radius = rng.uniform(1.2, 2.0) * (1 + 1.9 * severity) * surface.visibility
        where = centre + rng.normal(0, 5 + 5 * severity, size=2) * surface.unit
        crumb = surface.blob(_outline(where, radius * surface.unit, 0.3, rng), 0.15)
        surface.multiply(surface.soften(surface.moved(crumb, -0.7 * radius), 0.5), 0.3, 0.45)
        surface.paint(crumb, np.multiply(colour, rng.uniform(0.75, 1.05)), surface.effect(0.50, 0.95, severity))
        surface.paint(crumb * surface.moved(1 - crumb, -0.6 * radius), 1.0, 0.3)


def _fragment(surface: Surface, severity: float, rng: np.random.Generator) -> None:
    """A flat splinter with straight edges, lit from its side and shining a little."""
    colour = np.array(_choose(rng, surface.palette.objects))
    radius = (4.0 + 14.0 * severity) * rng.uniform(0.9, 1.1) * surface.visibility**0.5
    angle = np.sort(rng.uniform(0, 2 * np.pi / 5, size=5) + np.arange(5) * 2 * np.pi / 5)
    corners = radius * surface.unit * rng.uniform(0.7, 1, size=(5, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    piece = surface.blob(surface.place(rng, radius + 2) + corners * (1, rng.uniform(0.6, 1)), 0.25)
    strength = surface.effect(0.50, 0.97, severity)
    thickness = 1.2 + 0.08 * radius
    shadow = surface.soften(surface.moved(piece, -1.5 * thickness), 0.6 * thickness)
    surface.multiply(np.clip(shadow - piece, 0, 1), 0.3, 0.6 * strength)
    surface.paint(piece, colour, strength)
    surface.paint(piece * surface.moved(1 - piece, -thickness), np.minimum(1.5 * colour + 0.15, 1), 0.7 * strength)
    surface.multiply(piece * surface.moved(1 - piece, thickness), 0.6, strength)


def _box(alpha: np.ndarray, margin: int = 0) -> Box:
    """The rows and columns where alpha is not 0, and `margin` more on each side."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    return slice(top, rows[-1] + 1 + margin), slice(left, columns[-1] + 1 + margin)


def _choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def _towards_middle(surface: Surface, start: np.ndarray, rng: np.random.Generator) -> float:
    """A heading that keeps a long defect on the part."""
    x, y = surface.n / 2 - start
    return float(np.arctan2(y, x) + rng.normal(0, 0.8))


def _line(start: np.ndarray, angle: float, forward: np.ndarray, aside: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return start + np.stack([forward * cos - aside * sin, forward * sin + aside * cos], axis=1)


def _outline(centre: np.ndarray, radius: float, roughness: float, rng: np.random.Generator) -> np.ndarray:
    """An irregular round shape, (72, 2): a circle whose radius carries a few random waves, stretched a little."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    waves = sum(rng.normal(0, roughness / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 8))
    distance = radius * np.clip(1 + waves, 0.35, 1.8)
    stretch, turn = rng.uniform(0.75, 1), rng.uniform(0, np.pi)
    x, y = distance * np.cos(angle), stretch * distance * np.sin(angle)
    return centre + np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)


DEFECTS: dict[str, Callable[[Surface, float, np.random.Generator], None]] = {
    "scratch": scratch,
    "crack": crack,
    "stain": stain,
    "hole": hole,
    "contamination": contamination,
}
