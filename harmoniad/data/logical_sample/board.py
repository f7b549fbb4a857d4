"""The printed board in its two variants: what is mounted where, and the ways to mount it wrong."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harmoniad.data.logical_sample.bare_board import (
    CHIP,
    DIODES,
    HEADER,
    HEADER_PINS,
    LABEL,
    LARGE,
    SLOTS,
    Place,
    bare_board,
)
from harmoniad.data.logical_sample.components import CHIP_PINS, PITCH, SHAPES
from harmoniad.data.logical_sample.product import Arrangement, Broken, Mark, Product, area_of, pick, tone
from harmoniad.data.logical_sample.scene import Colour, Item
from harmoniad.data.sample.camera import Fixture
from harmoniad.data.sample.surface import Palette

# Both diodes have the same of these colours.
DIODE_COLOURS: tuple[Colour, ...] = ((0.75, 0.10, 0.08), (0.12, 0.55, 0.16), (0.82, 0.58, 0.06))
# The variants, which the label names: the large part, and what is mounted on each of the eight footprints.
VARIANTS = {"A": ("electrolytic", "RRR-CC--"), "B": ("coil", "RR--CCCR")}
_TWO_ENDED = {"R": "resistor", "C": "capacitor"}
_SHORT_PINS = HEADER_PINS - 2


def arrange(rng: np.random.Generator) -> Arrangement:
    """A board of either variant, each component where the machine put it, almost exactly."""
    text = pick(list(VARIANTS), rng)
    large, mounted = VARIANTS[text]
    colour = pick(DIODE_COLOURS, rng)
    items = [_mounted("label", LABEL, rng, text=text, loose=1.4)]
    for place, letter in zip(SLOTS, mounted, strict=True):
        # Drawn for every footprint, so that nothing else depends on the variant.
        item = _mounted("resistor", place, rng)
        if letter in _TWO_ENDED:
            items.append(replace(item, shape=_TWO_ENDED[letter]))
    items += [_mounted("diode", place, rng, colour=colour) for place in DIODES]
    items.append(_mounted("header", HEADER, rng, length=HEADER_PINS * PITCH))
    items.append(_mounted("chip", CHIP, rng))
    items.append(_mounted(large, LARGE, rng))
    return items


def _mounted(
    shape: str,
    place: Place,
    rng: np.random.Generator,
    *,
    length: float = 0.0,
    colour: Colour = (0.5, 0.5, 0.5),
    text: str = "",
    loose: float = 0.7,
) -> Item:
    x, y = place + np.clip(rng.standard_normal(2), -2, 2) * loose
    angle = np.clip(rng.standard_normal(), -2, 2) * 0.02 * min(loose, 1.2)
    return Item(shape, float(x), float(y), float(angle), length, colour, text, tone(rng))


def _two_ended(items: Arrangement) -> Arrangement:
    return [item for item in items if item.shape in _TWO_ENDED.values()]


def _the(items: Arrangement, *shapes: str) -> Item:
    return next(item for item in items if item.shape in shapes)


def _free(items: Arrangement) -> Iterator[Place]:
    """The footprints on which nothing is mounted."""
    for x, y in SLOTS:
        if not any(np.hypot(item.x - x, item.y - y) < 8 for item in _two_ended(items)):
            yield x, y


def _exchanged(items: Arrangement, old: Item, *new: Item) -> Arrangement:
    return [other for item in items for other in (new if item is old else (item,))]


def _missing(items: Arrangement, rng: np.random.Generator) -> Broken:
    gone = pick([*_two_ended(items), *(item for item in items if item.shape == "diode")], rng)
    return _exchanged(items, gone), [Mark("missing_component", (gone,))]


def _extra(items: Arrangement, rng: np.random.Generator) -> Broken:
    added = _mounted(pick(list(_TWO_ENDED.values()), rng), pick(list(_free(items)), rng), rng)
    return [*items, added], [Mark("extra_component", (added,))]


def _misplaced(items: Arrangement, rng: np.random.Generator) -> Broken:
    """Mounted on a footprint that stays free on this variant, and not on its own."""
    gone = pick(_two_ended(items), rng)
    stray = _mounted(gone.shape, pick(list(_free(items)), rng), rng)
    return _exchanged(items, gone, stray), [Mark("misplaced_component", (stray,)), Mark("missing_component", (gone,))]


def _swapped(items: Arrangement, rng: np.random.Generator) -> Broken:
    """A resistor and a capacitor have changed places."""
    one, other = (pick([item for item in items if item.shape == shape], rng) for shape in _TWO_ENDED.values())
    new_one, new_other = replace(one, shape=other.shape), replace(other, shape=one.shape)
    changed = _exchanged(_exchanged(items, one, new_one), other, new_other)
    return changed, [Mark("swapped_component", (item,)) for item in (new_one, new_other)]


def _wrong_variant(items: Arrangement, rng: np.random.Generator) -> Broken:
    """The large part is that of the other variant: it or the label is wrong."""
    label, old = _the(items, "label"), _the(items, "electrolytic", "coil")
    new = replace(old, shape="coil" if old.shape == "electrolytic" else "electrolytic")
    return _exchanged(items, old, new), [Mark("wrong_variant", (old, new, label))]


def _wrong_colour(items: Arrangement, rng: np.random.Generator) -> Broken:
    """The diodes have two colours: either could be the wrong one."""
    pair = [item for item in items if item.shape == "diode"]
    old = pick(pair, rng)
    new = replace(old, colour=pick([colour for colour in DIODE_COLOURS if colour != old.colour], rng))
    return _exchanged(items, old, new), [Mark("wrong_colour", tuple(pair))]


def _reversed(items: Arrangement, rng: np.random.Generator) -> Broken:
    """The chip is mounted the wrong way round."""
    old = _the(items, "chip")
    new = replace(old, angle=old.angle + np.pi)
    return _exchanged(items, old, new), [Mark("reversed_chip", (old, new))]


def _short(items: Arrangement, rng: np.random.Generator) -> Broken:
    """The header has too few pins, at one end or the other."""
    old = _the(items, "header")
    length = _SHORT_PINS * PITCH
    new = replace(old, length=length, x=old.x + pick((-1, 1), rng) * (old.length - length) / 2)
    return _exchanged(items, old, new), [Mark("short_header", (old,))]


def _bent(shape: str, items: Arrangement, severity: float, rng: np.random.Generator) -> Arrangement:
    old = _the(items, shape)
    pin = int(rng.integers(HEADER_PINS if shape == "header" else CHIP_PINS))
    bend = (7 + 4 * severity) * pick((-1, 1), rng)
    return _exchanged(items, old, replace(old, bend=bend, pin=pin))


def _area(shape: str, length: float = 0.0) -> float:
    return area_of(Item(shape, 0, 0, length=length), SHAPES)


_SATURATION = {
    "missing_component": None,
    "extra_component": None,
    "misplaced_component": None,
    "swapped_component": None,
    "wrong_variant": min(_area("coil"), _area("electrolytic")),
    "wrong_colour": _area("diode"),
    "reversed_chip": 0.25 * _area("chip"),
    "short_header": _area("header", 2 * PITCH),
}

BOARD = Product(
    arrange,
    bare_board,
    SHAPES,
    {
        "missing_component": _missing,
        "extra_component": _extra,
        "misplaced_component": _misplaced,
        "swapped_component": _swapped,
        "wrong_variant": _wrong_variant,
        "wrong_colour": _wrong_colour,
        "reversed_chip": _reversed,
        "short_header": _short,
    },
    _SATURATION,
    ("scratch", "stain", "crack", "contamination"),
    ("chip", "electrolytic", "label", "diode"),
    {"bent_pin": partial(_bent, "chip"), "bent_header_pin": partial(_bent, "header")},
    Fixture("belt", angle=1.0, shift=1.5, height=3, unsteady=0.6, smooth=True),
    Palette(
        stains=((0.45, 0.36, 0.22), (0.25, 0.25, 0.25), (2.0, 1.5, 1.3)),
        objects=((0.93, 0.92, 0.88), (0.80, 0.12, 0.10), (0.70, 0.71, 0.72), (0.85, 0.65, 0.15)),
    ),
)
