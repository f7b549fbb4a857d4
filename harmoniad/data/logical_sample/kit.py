"""The assembly kit: which parts belong into which compartment, and the ways to pack it wrong."""

from dataclasses import replace
from functools import partial

import numpy as np

from harmoniad.data.logical_sample.parts import SHAPES
from harmoniad.data.logical_sample.product import Arrangement, Broken, Mark, Product, area_of, pick, tone
from harmoniad.data.logical_sample.scene import Colour, Item
from harmoniad.data.logical_sample.tray import COMPARTMENTS, tray
from harmoniad.data.sample.camera import Fixture
from harmoniad.data.sample.surface import Palette

# Cap and tag have the same of these colours.
COLOURS: tuple[Colour, ...] = ((0.62, 0.07, 0.06), (0.05, 0.20, 0.52), (0.86, 0.60, 0.04))
NUTS, WASHERS = 4, 3
LONG, SHORT = 58.0, 38.0
SCREWS = (LONG, LONG, SHORT, SHORT)
ROD, SHORT_ROD, LONG_ROD = 168.0, 122.0, 208.0
_CABLE: Colour = (0.80, 0.30, 0.05)
_TRIES = 400


def arrange(rng: np.random.Generator) -> list[Item]:
    """A kit that is complete, everything in its compartment, as it fell."""
    items: list[Item] = []
    colour = pick(COLOURS, rng)
    tag = Item("tag", 74.5 + rng.uniform(-4, 4), -92 + rng.uniform(-2, 2), rng.normal(0, 0.05), tone=tone(rng))
    items.append(replace(tag, colour=colour))
    cap = Item("cap", rng.uniform(56, 93), rng.uniform(-58, -54), rng.uniform(0, 6.3), tone=tone(rng), colour=colour)
    items.append(cap)
    coil = Item("coil", 74.5 + rng.uniform(-7, 7), 7 + rng.uniform(-8, 8), rng.uniform(0, 6.3), colour=_CABLE)
    items.append(replace(coil, tone=tone(rng), bend=rng.uniform(0, 6.3)))
    for _ in range(WASHERS):
        items.append(_dropped(items, "washer", "washers", rng))
    for _ in range(NUTS):
        items.append(_dropped(items, "nut", "nuts", rng))
    for length in SCREWS:
        items.append(_dropped(items, "screw", "screws", rng, length))
    items.append(_rod(ROD, rng))
    return items


def _rod(length: float, rng: np.random.Generator) -> Item:
    room = 106 - length / 2
    turned = rng.choice((0, np.pi)) + rng.uniform(-0.06, 0.06)
    return Item("rod", rng.uniform(-room, room), 81 + rng.uniform(-12, 12), turned, length, tone=tone(rng))


def _dropped(items: list[Item], shape: str, place: str, rng: np.random.Generator, length: float = 0.0) -> Item:
    """An item anywhere in a compartment, at any angle, beside what is there; where it gets tight, a little over it."""
    box = COMPARTMENTS[place]
    points, radii = map(np.concatenate, zip(*map(_discs, items), strict=True))
    best, best_gap = Item(shape, 0, 0), -np.inf
    for _ in range(_TRIES):
        item = Item(shape, 0, 0, rng.uniform(0, 2 * np.pi), length)
        margin_x, margin_y = _extent(item)
        room_x, room_y = (box.right - box.left) / 2 - margin_x - 3, (box.bottom - box.top) / 2 - margin_y - 3
        if min(room_x, room_y) < 0:
            continue
        x = (box.left + box.right) / 2 + rng.uniform(-room_x, room_x)
        y = (box.top + box.bottom) / 2 + rng.uniform(-room_y, room_y)
        item = replace(item, x=x, y=y)
        own_points, own_radii = _discs(item)
        apart = np.hypot(*(points[:, None] - own_points[None]).transpose(2, 0, 1))
        gap = float((apart - radii[:, None] - own_radii[None]).min())
        if gap > best_gap:
            best, best_gap = item, gap
        if gap > 1.5:
            break
    return replace(best, tone=tone(rng))


def _extent(item: Item) -> tuple[float, float]:
    """How far an item reaches to the side and up."""
    if item.shape == "screw":
        half = item.length / 2 - 3
        return abs(np.cos(item.angle)) * half + 8, abs(np.sin(item.angle)) * half + 8
    return 13.0, 13.0


def _discs(item: Item) -> tuple[np.ndarray, np.ndarray]:
    """Discs that cover an item: their middles (k, 2) and radii (k)."""
    if item.shape in ("screw", "rod"):
        along = np.linspace(-0.5, 0.5, 9) * (item.length - 8)
        radii = np.full(9, 4.5)
        radii[0] = 8.0 if item.shape == "screw" else 6.5
        points = np.array([item.x, item.y]) + along[:, None] * np.array([np.cos(item.angle), np.sin(item.angle)])
        return points, radii
    return np.array([[item.x, item.y]]), np.array([{"coil": 26.0, "cap": 15.0, "tag": 33.0}.get(item.shape, 12.5)])


def _of(items: Arrangement, shape: str) -> Arrangement:
    return [item for item in items if item.shape == shape]


def _whole(entry: str, place: str) -> Mark:
    return Mark(entry, areas=(COMPARTMENTS[place].inside,))


def _missing(shape: str, place: str, items: Arrangement, rng: np.random.Generator) -> Broken:
    """One is not there: anywhere in its compartment it could be."""
    gone = pick(_of(items, shape), rng)
    return [item for item in items if item is not gone], [_whole(f"missing_{shape}", place)]


def _extra(shape: str, place: str, items: Arrangement, rng: np.random.Generator) -> Broken:
    """One too many: each of them could be it."""
    length = pick((LONG, SHORT), rng) if shape == "screw" else 0.0
    changed = [*items, _dropped(items, shape, place, rng, length)]
    return changed, [Mark(f"extra_{shape}", tuple(_of(changed, shape)))]


def _missing_part(items: Arrangement, rng: np.random.Generator) -> Broken:
    return _missing(*pick((*_SMALL_PARTS, ("coil", "cable"), ("rod", "rod")), rng), items, rng)


def _extra_part(items: Arrangement, rng: np.random.Generator) -> Broken:
    return _extra(*pick(_SMALL_PARTS, rng), items, rng)


def _misplaced(items: Arrangement, rng: np.random.Generator) -> Broken:
    """A nut among the washers, a washer among the nuts, or a screw beside the rod."""
    shape, home, away = pick(
        (("nut", "nuts", "washers"), ("washer", "washers", "nuts"), ("screw", "screws", "rod")), rng
    )
    gone = pick(_of(items, shape), rng)
    rest = [item for item in items if item is not gone]
    stray = _dropped(rest, shape, away, rng, gone.length)
    return [*rest, stray], [Mark("misplaced_part", (stray,)), _whole(f"missing_{shape}", home)]


def _swapped(items: Arrangement, rng: np.random.Generator) -> Broken:
    """The nuts where the washers belong, and the other way round."""
    changed = [item for item in items if item.shape not in ("nut", "washer")]
    marks = []
    for shape, count, place in (("nut", NUTS, "washers"), ("washer", WASHERS, "nuts")):
        moved: Arrangement = []
        for _ in range(count):
            moved.append(_dropped([*changed, *moved], shape, place, rng))
        changed += moved
        marks.append(_whole("swapped_parts", place))
    return changed, marks


def _wrong_count(items: Arrangement, rng: np.random.Generator) -> Broken:
    """A nut too few and a washer too many, or the other way round, so that the number of parts is right."""
    few, many = pick(((_SMALL_PARTS[0], _SMALL_PARTS[1]), (_SMALL_PARTS[1], _SMALL_PARTS[0])), rng)
    items, missing = _missing(*few, items, rng)
    items, extra = _extra(*many, items, rng)
    return items, missing + extra


def _wrong_colour(items: Arrangement, rng: np.random.Generator) -> Broken:
    """The cap has another colour than the tag: either could be the wrong one."""
    (cap,), (tag,) = _of(items, "cap"), _of(items, "tag")
    other = pick([colour for colour in COLOURS if colour != cap.colour], rng)
    changed = [replace(item, colour=other) if item is cap else item for item in items]
    return changed, [Mark("wrong_colour", (cap, tag))]


def _wrong_rod(items: Arrangement, rng: np.random.Generator) -> Broken:
    """The rod of another kit, too short or too long."""
    (old,) = _of(items, "rod")
    length = pick((SHORT_ROD, LONG_ROD), rng)
    room = 106 - length / 2
    new = replace(old, length=length, x=float(np.clip(old.x, -room, room)))
    return [new if item is old else item for item in items], [Mark("wrong_rod", (old, new))]


def _wrong_screw(items: Arrangement, rng: np.random.Generator) -> Broken:
    """Three long screws and a short one, or the other way round."""
    old = pick(_of(items, "screw"), rng)
    rest = [item for item in items if item is not old]
    new = _dropped(rest, "screw", "screws", rng, SHORT if old.length == LONG else LONG)
    return [*rest, new], [_whole("wrong_screw", "screws")]


def _bent(shape: str, items: Arrangement, severity: float, rng: np.random.Generator) -> Arrangement:
    old = pick([item for item in _of(items, shape) if item.length != SHORT], rng)
    bend = (8 + 8 * severity) * pick((-1, 1), rng)
    return [replace(item, bend=bend) if item is old else item for item in items]


def _area(shape: str, length: float = 0.0) -> float:
    return area_of(Item(shape, 0, 0, length=length), SHAPES)


_SMALL_PARTS = (("nut", "nuts"), ("washer", "washers"), ("screw", "screws"))
_SATURATION = {
    "missing_nut": _area("nut"),
    "missing_washer": _area("washer"),
    "missing_screw": _area("screw", SHORT),
    "missing_coil": _area("coil"),
    "missing_rod": _area("rod", ROD),
    "extra_nut": _area("nut"),
    "extra_washer": _area("washer"),
    "extra_screw": _area("screw", SHORT),
    "misplaced_part": None,
    "swapped_parts": WASHERS * _area("washer"),
    "wrong_colour": _area("cap"),
    "wrong_rod": _area("rod", LONG_ROD) - _area("rod", ROD),
    "wrong_screw": _area("screw", LONG) - _area("screw", SHORT),
}

KIT = Product(
    arrange,
    tray,
    SHAPES,
    {
        "missing_part": _missing_part,
        "extra_part": _extra_part,
        "misplaced_part": _misplaced,
        "swapped_parts": _swapped,
        "wrong_count": _wrong_count,
        "wrong_colour": _wrong_colour,
        "wrong_rod": _wrong_rod,
        "wrong_screw": _wrong_screw,
    },
    _SATURATION,
    ("scratch", "stain", "crack", "contamination"),
    ("cap", "tag", "washer"),
    {"bent_rod": partial(_bent, "rod"), "bent_screw": partial(_bent, "screw")},
    Fixture("belt", angle=1.0, shift=1.5, height=5, unsteady=0.7, smooth=True),
    Palette(
        # The tray is dark: rust and dried coolant show on it and on the metal.
        stains=((1.6, 0.85, 0.42), (1.4, 1.0, 0.50), (0.34, 0.26, 0.18)),
        objects=((0.93, 0.92, 0.88), (0.55, 0.08, 0.10), (0.42, 0.30, 0.18), (0.85, 0.75, 0.20)),
    ),
)
