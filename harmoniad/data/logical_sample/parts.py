"""What lies in the tray of the assembly kit: nuts, washers, screws, a threaded rod, a cap, a tag and a coiled cable."""

import numpy as np

from harmoniad.data.logical_sample.scene import Colour, Item, Shapes, Solid, bevel, printed, smooth, tinted
from harmoniad.data.sample.part import rounded_box

_STEEL: Colour = (0.74, 0.75, 0.77)
_BRASS: Colour = (0.80, 0.64, 0.32)
_ZINC: Colour = (0.70, 0.71, 0.76)
_PAPER: Colour = (0.88, 0.87, 0.83)
_INK: Colour = (0.10, 0.10, 0.12)
NUT_REACH, WASHER_REACH, CAP_REACH, COIL_REACH = 12.8, 13.0, 15.0, 27.0
TAG = (31.0, 14.0)


def _toned(colour: Colour, item: Item) -> np.ndarray:
    return np.asarray(colour, np.float32) * np.float32(item.tone)


def nut(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A hexagon nut of brass, lying flat."""
    sides = [abs(x * np.cos(a) + y * np.sin(a)) for a in (0, np.pi / 3, 2 * np.pi / 3)]
    hexagon = 11.0 - np.maximum.reduce(sides)
    r = np.hypot(x, y)
    inside = np.minimum(hexagon, r - 4.6)
    # The chamfer cuts the corners in a circle; inside, the thread steps down.
    height = 7 + np.minimum(0, (11.2 - r) * 0.9) - np.clip(6.6 - r, 0, None) * 1.1
    height = np.minimum(height, bevel(hexagon, 1.6, 7.0))
    marks = 1 + 0.05 * np.sin(3.1 * r + item.angle * 9)
    return Solid(inside, height, _toned(_BRASS, item) * marks[..., None], 0.85, 6.0)


def washer(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A plain steel washer."""
    r = np.hypot(x, y)
    inside = np.minimum(WASHER_REACH - r, r - 6.2)
    glint = 1 + 0.10 * np.cos(2 * (np.arctan2(y, x) - item.angle)) + 0.03 * np.sin(5 * r)
    return Solid(inside, bevel(inside, 1.2, 1.6), _toned(_STEEL, item) * glint[..., None], 0.8, 2.5)


def screw(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A pan-head screw on its side, head on the left; `bend` bows its shaft."""
    half = item.length / 2
    neck = -half + 6.5
    along = np.clip((x - neck) / (item.length - 6.5), 0, 1)
    y = y - item.bend * along**2
    head = np.minimum(
        np.minimum(8.6 * np.sqrt(np.clip(1 - ((x - neck) / 7.0) ** 2, 0, 1)) - abs(y), neck - x), x + half
    )
    thread = np.abs(((x + 0.25 * y) / 2.6) % 1 - 0.5) * 2
    radius = 3.5 + 0.45 * thread - np.clip(x - (half - 5), 0, 5) * 0.55
    shaft = np.minimum(radius - abs(y), np.minimum(half - x, x - neck + 1))
    profile = np.sqrt(np.clip(radius**2 - y**2, 0.05, None))
    dome = np.sqrt(np.clip(8.6**2 - y**2, 0.05, None)) * np.sqrt(np.clip(1 - ((x - neck) / 7.4) ** 2, 0.03, 1))
    on_head = head > shaft
    height = np.where(on_head, dome, profile)
    return Solid(np.maximum(head, shaft), height, _toned(_ZINC, item), 0.9, 5.0)


def rod(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A threaded rod; `bend` is how far its middle is off the straight line."""
    half = item.length / 2
    y = y - item.bend * (1 - np.clip(x / half, -1, 1) ** 2)
    thread = np.abs(((x + 0.2 * y) / 3.0) % 1 - 0.5) * 2
    radius = 6.0 + 0.5 * thread - np.clip(abs(x) - half + 2, 0, 2) * 0.7
    inside = np.minimum(radius - abs(y), half - abs(x))
    return Solid(inside, np.sqrt(np.clip(radius**2 - y**2, 0.05, None)), _toned(_ZINC, item), 0.9, 8.0)


def cap(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A knurled screw cap of coloured plastic, seen from above."""
    r, turn = np.hypot(x, y), np.arctan2(y, x)
    inside = CAP_REACH - 0.4 + 0.4 * np.cos(30 * turn) - r
    height = bevel(inside, 3.0, 8.0) - 1.0 * smooth(10.5 - r, 1.2)
    ribs = 0.7 * np.cos(30 * turn) * np.clip((r - 12.0) / 2, 0, 1)
    height = height + ribs + 0.8 * smooth(printed("M8", 8.0, x, y) - 0.5, 0.8)
    return Solid(inside, height, _toned(item.colour, item), 0.06, 8.0)


def tag(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A card with a coloured band and the name of the kit."""
    inside = rounded_box(x, y, *TAG, 3.0)
    inside = np.minimum(inside, np.hypot(x + 25, y) - 2.2)
    colour = tinted(_toned(_PAPER, item), item.colour, smooth(y - 3.5) * smooth(x + 19))
    ink = np.maximum(printed("KIT 8", 11.0, x - 5, y + 5), 0)
    colour = tinted(colour, _INK, 0.9 * ink)
    return Solid(inside, np.clip(inside, 0, 0.6), colour, 0.0, 1.2)


def coil(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A cable, coiled three times and tied together; its ends carry ferrules."""
    turn, r = np.arctan2(y, x), np.hypot(x, y)
    wobble = 0.8 * np.sin(2 * turn + item.bend) + 0.6 * np.sin(3 * turn + 2 * item.bend)
    inside = np.full_like(r, -np.inf)
    height = np.zeros_like(r)
    for k, radius in enumerate((13.0, 17.2, 21.4)):
        tube = 2.5 - np.abs(r - radius - wobble * (0.4 + 0.2 * k))
        inside = np.maximum(inside, tube)
        height = np.maximum(height, np.sqrt(np.clip(2.5**2 - (2.5 - np.clip(tube, 0, 2.5)) ** 2, 0, None)))
    colour = np.broadcast_to(_toned(item.colour, item), (*r.shape, 3))
    tie = np.minimum(1.9 - np.abs(y), 8.5 - np.abs(x - 17.2))
    inside, height = np.maximum(inside, tie), np.maximum(height, bevel(tie, 1.5, 4.0) * (tie > 0))
    colour = tinted(colour, (0.85, 0.85, 0.82), smooth(tie))
    return Solid(inside, height, colour, 0.08, 4.0)


def _reach(item: Item) -> float:
    if item.shape in ("screw", "rod"):
        return item.length / 2 + 9 + abs(item.bend)
    return {"nut": NUT_REACH, "washer": WASHER_REACH, "cap": CAP_REACH, "tag": 35.0, "coil": COIL_REACH}[item.shape]


SHAPES = Shapes(
    {"nut": nut, "washer": washer, "screw": screw, "rod": rod, "cap": cap, "tag": tag, "coil": coil}, _reach
)
