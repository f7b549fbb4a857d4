"""What a product with logic is to the rest of the factory: legal arrangements, and defects that break a rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from harmoniad.data.logical_sample.scene import Item, Shapes, cover_of
from harmoniad.data.sample.camera import Fixture
from harmoniad.data.sample.surface import Palette

T = TypeVar("T")


@dataclass(frozen=True)
class Mark:
    """One region of a defect: a mask file.

    Attributes:
        entry: its key in `Product.saturation`.
        items: whose outlines belong to it, be they there or only due there.
        areas: functions of the canvas' width that give a signed distance (n, n), positive in the region.
    """

    entry: str
    items: tuple[Item, ...] = ()
    areas: tuple[Callable[[int], np.ndarray], ...] = ()

    def region(self, shapes: Shapes, n: int) -> np.ndarray:
        """Where it is, (n, n) float32 0..1."""
        covers = [cover_of(item, shapes, n) for item in self.items]
        covers += [(area(n) > 0).astype(np.float32) for area in self.areas]
        return np.asarray(np.maximum.reduce(covers))


Arrangement = list[Item]
Broken = tuple[Arrangement, list[Mark]]
"""An arrangement that breaks a rule, and where it does."""


@dataclass(frozen=True)
class Product:
    """One product on its line.

    Attributes:
        arrange: draws a legal arrangement, the lowest item first.
        ground: draws the empty tray or board from a generator, the canvas' width n and the light: its colour
            (n, n, 3) float32 0..1 and its cover (n, n).
        shapes: its solids.
        logical: its kinds of logical defects, each with what breaks an arrangement.
        saturation: a region counts as found from so many nominal pixels on; None for all of it.
        damage: the kinds of `DEFECTS` that it suffers.
        fragile: the shapes of items that get scratches and cracks, as the ground does.
        bent: its kinds of bent items, each with what bends one, from a severity 0..1.
        fixture: how the line presents it.
        palette: what soils it.
    """

    arrange: Callable[[np.random.Generator], Arrangement]
    ground: Callable[[np.random.Generator, int, tuple[float, float]], tuple[np.ndarray, np.ndarray]]
    shapes: Shapes
    logical: dict[str, Callable[[Arrangement, np.random.Generator], Broken]]
    saturation: dict[str, float | None]
    damage: tuple[str, ...]
    fragile: tuple[str, ...]
    bent: dict[str, Callable[[Arrangement, float, np.random.Generator], Arrangement]]
    fixture: Fixture
    palette: Palette

    @property
    def structural(self) -> tuple[str, ...]:
        """All kinds of structural defects."""
        return (*self.damage, *self.bent)

    @property
    def entries(self) -> dict[str, float | None]:
        """All entries of `defects_config.json`; of a structural defect one must find all."""
        return {**self.saturation, **dict.fromkeys(self.structural)}


def area_of(item: Item, shapes: Shapes) -> float:
    """The area of an item in nominal pixels."""
    return float(cover_of(item, shapes, 512).sum()) / 4


def pick(options: Sequence[T], rng: np.random.Generator) -> T:
    """One of several."""
    return options[int(rng.integers(len(options)))]


def tone(rng: np.random.Generator) -> float:
    """How bright a piece came out."""
    return float(rng.uniform(0.93, 1.07))
