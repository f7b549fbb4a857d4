"""Damage and dirt, painted onto the surface of a part the way light would show it.

Every kind is a function of a `Surface`, which it changes, a severity in 0..1 (from barely visible to obvious) and a
generator.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from harmoniad.data.sample.surface import Surface

T = TypeVar("T")


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
    """Oil, rust, ink or drought, in the grain: multiplies the colour, soft at the edge, stronger at its rim."""
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
    distance = radius * surface.unit * rng.uniform(0.7, 1, size=5)
    corners = np.stack([distance * np.cos(angle), rng.uniform(0.6, 1) * distance * np.sin(angle)], axis=1)
    piece = surface.blob(surface.place(rng, radius + 2) + corners, 0.25)
    strength = surface.effect(0.50, 0.97, severity)
    thickness = 1.2 + 0.08 * radius
    shadow = surface.soften(surface.moved(piece, -1.5 * thickness), 0.6 * thickness)
    surface.multiply(np.clip(shadow - piece, 0, 1), 0.3, 0.6 * strength)
    surface.paint(piece, colour, strength)
    surface.paint(piece * surface.moved(1 - piece, -thickness), np.minimum(1.5 * colour + 0.15, 1), 0.7 * strength)
    surface.multiply(piece * surface.moved(1 - piece, thickness), 0.6, strength)


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
