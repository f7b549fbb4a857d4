"""What is mounted on the board: chips, resistors, capacitors, diodes, a pin header, a coil and a label."""

import numpy as np

from harmoniad.data.logical_sample.scene import Colour, Item, Shapes, Solid, bevel, printed, smooth, tinted
from harmoniad.data.sample.part import rounded_box

_BLACK: Colour = (0.075, 0.075, 0.082)
_TIN: Colour = (0.72, 0.73, 0.74)
_BRASS: Colour = (0.85, 0.70, 0.36)
_WHITE: Colour = (0.87, 0.87, 0.85)
CHIP = (31.0, 19.0)
PADS = (12.0, 6.0)
PITCH, PIN_PITCH = 13.0, 7.0
_PINS_A_SIDE = 8
CHIP_PINS = 2 * _PINS_A_SIDE


def chip(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A chip in a black case with pins on its long sides and a notch on the left; `bend` bends one pin."""
    case = rounded_box(x, y, *CHIP, 1.5)
    notch = 6.0 - np.hypot(x + CHIP[0], y)
    pins = np.full_like(case, -np.inf)
    for k in range(_PINS_A_SIDE):
        at = (k - (_PINS_A_SIDE - 1) / 2) * PIN_PITCH
        for side in (-1, 1):
            out = np.clip(side * y - CHIP[1] + 1, 0, None)
            bent = item.bend * (out / 9) if item.pin == (k if side < 0 else k + _PINS_A_SIDE) else 0.0
            pins = np.maximum(pins, np.minimum(1.7 - np.abs(x - at - bent), 9.0 - np.abs(out)) - 50 * (side * y < 0))
    pins = np.minimum(pins, np.abs(y) - CHIP[1] + 1)
    on_case = smooth(case)
    height = bevel(case, 2.2, 7.0) * on_case - 2.0 * smooth(notch, 1.0) * on_case
    dot = 2.2 - np.hypot(x + CHIP[0] - 8, y - CHIP[1] + 6.5)
    height = height - 0.7 * smooth(dot, 1.0) * on_case + bevel(pins, 1.2, 2.0) * (1 - on_case)
    ink = printed("HX 204", 10.5, x - 2, y) * 0.62
    black = np.asarray(_BLACK, np.float32) * np.float32(item.tone)
    colour = tinted(tinted(np.asarray(_TIN, np.float32), (0, 0, 0), on_case), tuple(black), on_case)
    colour = tinted(colour, (0.62, 0.62, 0.60), np.maximum(ink, 0.5 * smooth(dot) * on_case))
    colour = tinted(colour, (0.17, 0.17, 0.18), 0.8 * smooth(notch) * on_case)
    return Solid(np.maximum(case, pins), height, colour, 0.85 * (1 - on_case), 5.0)


def _two_ended(x: np.ndarray, y: np.ndarray, body: np.ndarray, half: tuple[float, float], thick: float) -> Solid:
    inside = rounded_box(x, y, *half, 1.2)
    ends = smooth(np.abs(x) - half[0] + 3.6)
    colour = tinted(body, _TIN, ends)
    return Solid(inside, bevel(inside, 1.6, thick), colour, 0.75 * ends, thick)


def resistor(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A surface-mounted resistor: black, with its value in white."""
    black = np.asarray(_BLACK, np.float32) * np.float32(item.tone)
    body = tinted(black, _WHITE, 0.85 * printed("103", 7.0, x, y))
    return _two_ended(x, y, body, (11.0, 5.8), 2.4)


def capacitor(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A surface-mounted ceramic capacitor: a brown block."""
    brown = np.asarray((0.50, 0.36, 0.24), np.float32) * np.float32(item.tone)
    return _two_ended(x, y, tinted(brown, _BLACK, np.zeros_like(x)), (11.0, 5.8), 5.0)


def diode(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A light-emitting diode seen from above: a clear dome in its colour, flat on one side."""
    r = np.hypot(x, y)
    inside = np.minimum(10.0 - r, 8.8 - x)
    dome = np.sqrt(np.clip(8.4**2 - r**2, 0.3, None))
    height = np.where(r < 8.0, dome * 0.9 + 1.5, bevel(inside, 1.0, 2.0))
    cup = 0.28 * np.exp(-((r / 3.2) ** 2)) - 0.18 * np.exp(-(((r - 5.4) / 1.4) ** 2))
    colour = np.asarray(item.colour, np.float32) * np.float32(item.tone) * (1 + cup)[..., None]
    return Solid(inside, height, colour, 0.30, 6.0)


def header(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A pin header: a black strip with a brass pin every `PITCH`; `bend` bends one pin."""
    half = item.length / 2
    inside = rounded_box(x, y, half, 7.0, 1.0)
    cell = (x + half) % PITCH - PITCH / 2
    # Between two pins the strip narrows.
    inside = np.minimum(inside, 7.0 - 1.8 * np.clip(np.abs(cell) - PITCH / 2 + 2, 0, 2) / 2 * 2 - np.abs(y))
    height = bevel(inside, 1.6, 5.0)
    black = np.asarray(_BLACK, np.float32) * np.float32(1.15 * item.tone)
    bent = np.floor((x + half) / PITCH) == item.pin
    pin_y = np.abs(y) if not item.bend else np.where(bent, np.abs(y - item.bend / 2) - abs(item.bend) / 2, np.abs(y))
    pins = 2.1 - np.maximum(np.abs(cell), np.maximum(pin_y, 0))
    pins = np.where(np.abs(x) < half, pins, -9)
    on_pin = smooth(pins)
    colour = tinted(black, _BRASS, on_pin)
    return Solid(np.maximum(inside, pins), height + bevel(pins, 1.4, 3.0) * (pins > 0), colour, 0.85 * on_pin, 6.0)


def electrolytic(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """An aluminium capacitor on its square base, with the black segment of its minus side."""
    r = np.hypot(x, y)
    base = np.minimum(rounded_box(x, y, 22.0, 22.0, 2.0), 30.0 - np.abs(x + y))
    can = 19.5 - r
    on_can = smooth(can)
    height = bevel(base, 1.2, 2.0) * (1 - on_can) + (bevel(can, 3.0, 9.0) + 2) * on_can
    marks = 1 + 0.03 * np.sin(5 * r)
    silver = np.asarray((0.70, 0.71, 0.72), np.float32) * np.float32(item.tone) * marks[..., None]
    minus = smooth(-x - 8.5) * smooth(can - 1.5)
    lid = tinted(tinted(silver, (0.08, 0.08, 0.09), minus), (0.10, 0.10, 0.11), 0.85 * printed("47", 10.0, x - 4, y))
    colour = tinted(lid, _BLACK, 1 - on_can)
    return Solid(np.maximum(base, can), height, colour, 0.6 * on_can * (1 - minus), 9.0)


def coil(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A choke: copper wire round a black ring of ferrite."""
    r, turn = np.hypot(x, y), np.arctan2(y, x)
    inside = np.minimum(21.5 + 0.5 * np.cos(26 * turn) - r, r - 7.5)
    across = (r - 14.5) / 7.2
    tube = np.sqrt(np.clip(1 - across**2, 0.04, None))
    wound = smooth(2.75 - np.abs(turn), 0.08)
    height = 9 * tube + 0.55 * np.cos(26 * turn) * wound
    copper = np.asarray((0.78, 0.42, 0.20), np.float32) * np.float32(item.tone)
    colour = tinted(np.asarray(_BLACK, np.float32), tuple(copper), wound * (0.80 + 0.20 * np.cos(26 * turn)))
    return Solid(inside, height, colour, 0.7 * wound, 8.0)


def label(item: Item, x: np.ndarray, y: np.ndarray) -> Solid:
    """A paper label with the variant of the board and a bar code."""
    inside = rounded_box(x, y, 31.0, 17.0, 2.0)
    ink = printed(item.text, 26.0, x + 17, y)
    stripes = np.isin(np.floor((x + 1) / 1.7), (0, 1, 3, 6, 7, 9, 11, 12, 15))
    ink = np.maximum(ink, stripes * smooth(8 - np.abs(y + 4)))
    ink = np.maximum(ink, printed("REV 3", 6.5, x - 13, y - 11))
    white = np.asarray(_WHITE, np.float32) * np.float32(item.tone)
    return Solid(inside, np.clip(inside, 0, 0.4), tinted(white, (0.07, 0.07, 0.08), 0.93 * ink), 0.0, 0.8)


def _reach(item: Item) -> float:
    if item.shape == "header":
        return item.length / 2 + 4 + abs(item.bend)
    reaches = {"chip": 42.0, "resistor": 13.0, "capacitor": 13.0, "diode": 10.5, "electrolytic": 31.0}
    return reaches.get(item.shape, 36.0 if item.shape == "label" else 22.5)


SHAPES = Shapes(
    {
        "chip": chip,
        "resistor": resistor,
        "capacitor": capacitor,
        "diode": diode,
        "header": header,
        "electrolytic": electrolytic,
        "coil": coil,
        "label": label,
    },
    _reach,
)
