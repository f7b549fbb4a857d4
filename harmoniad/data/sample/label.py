"""A printed label: a header, lines of text, handling icons, a bar code and a lot number, on paper."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from harmoniad.data.sample.part import Change, Part, as_cover, centred_grid, draw_light, rounded_box, unit

_PAPER = (108.0, 92.0, 7.0)
_BLACK, _BLUE, _WHITE = (0.10, 0.10, 0.12), (0.07, 0.30, 0.50), (0.95, 0.95, 0.93)
# The modules of EAN-13 4012345678901.
_MODULES = "10100011010110011001001101111010011101011100101010101000010001001001000111010011100101100110101"
_MODULE_WIDTH, _BAR_HEIGHT, _BARS_LEFT, _BARS_Y = 1.4, 34.0, -98.0, 52.0


@dataclass(frozen=True)
class Element:
    """A printed piece. (x, y) is its middle in nominal pixels from the middle of the label; size, too, is nominal."""

    shape: str
    x: float
    y: float
    size: float = 0.0
    text: str = ""
    colour: tuple[float, float, float] = _BLACK


def _bars(first: int, end: int) -> Element:
    middle = _BARS_LEFT + _MODULE_WIDTH * (first + end) / 2
    return Element("bars", middle, _BARS_Y, _BAR_HEIGHT, _MODULES[first:end])


# What a defect may take away or move, from the least conspicuous to the most.
ELEMENTS = (
    Element("text", 88, -10, 15, "A2"),
    Element("text", -66.5, 21, 12, "Qty 100 pcs"),
    Element("text", -70.5, 6, 12, "DIN 125-A"),
    Element("umbrella", 25, 14, 13),
    Element("glass", 55, 14, 13),
    Element("arrows", 85, 14, 13),
    Element("text", -43, -12, 15, "Washer M8 steel"),
    _bars(48, 95),
)
_HEADER = (Element("box", 0, -58, 21, colour=_BLUE), Element("text", -30, -58, 25, "HARMONIA", _WHITE))
_REST = (
    _bars(0, 48),
    Element("text", _BARS_LEFT + 66, 77, 11, "4 012345 678901"),
    Element("text", 70, 61, 11, "EXP 2031-06"),
)


def label(rng: np.random.Generator, n: int, change: Change | None = None) -> Part:
    """Print the label; `change` leaves an element out or prints it in the wrong place."""
    light = draw_light(rng)
    cover, edge, grain, mottle = _paper(n)
    top, left = rng.integers(n // 2, size=2)
    # A label never lies quite flat: one soft wave runs over it.
    x, y = centred_grid(n)
    across, along = rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04)
    wave = np.sin(x * across + y * along + rng.uniform(0, 6))
    paper = 0.89 + 0.012 * wave + 0.012 * grain[top : top + n, left : left + n] - 0.08 * edge
    colour = paper[..., None] * np.array([1.0, 0.992, rng.uniform(0.955, 0.975)], np.float32)

    # The blue and the black plate of the press do not meet exactly, and ink is not always equally thick.
    blue_shift, black_shift = rng.normal(0, 0.35, size=(2, 2))
    blue_ink, black_ink = rng.uniform(0.90, 0.99), rng.uniform(0.90, 0.99)
    mottle = mottle[left : left + n, top : top + n]
    lot = Element("text", 70, 45, 11, "LOT " + "".join(str(digit) for digit in rng.integers(10, size=5)))
    for element in _HEADER:
        _print(colour, element, blue_shift, blue_ink, mottle)
    for element in (*_elements(change), *_REST, lot):
        _print(colour, element, black_shift, black_ink, mottle)
    colour *= 255
    return Part(colour.astype(np.uint8), cover, light)


def _elements(change: Change | None) -> Iterator[Element]:
    """Missing: the more severe, the larger the element. Misplaced: the more severe, the farther."""
    if change is None:
        yield from ELEMENTS
        return
    rng = np.random.default_rng(change.seed)
    missing = change.kind == "missing_element"
    rank = np.clip(change.severity + rng.uniform(-0.1, 0.1), 0, 1) if missing else rng.uniform(0.1, 1)
    chosen = round(rank * (len(ELEMENTS) - 1))
    distance = 6 + 20 * change.severity
    for i, element in enumerate(ELEMENTS):
        if i != chosen:
            yield element
        elif not missing:
            # Towards the middle, so that nothing leaves the paper.
            angle = np.arctan2(-element.y, -element.x) + rng.uniform(-1, 1)
            x, y = element.x + distance * float(np.cos(angle)), element.y + distance * float(np.sin(angle))
            yield replace(element, x=x, y=y)


@lru_cache(maxsize=2)
def _paper(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The paper's cover and darkened edge, (n, n), and its grain and how much ink that takes, (1.5 n, 1.5 n)."""
    x, y = centred_grid(n)
    inside = rounded_box(x, y, *_PAPER)
    noise = np.random.default_rng(3).standard_normal((n * 3 // 2, n * 3 // 2), dtype=np.float32)
    grain = ndimage.gaussian_filter(noise, 0.5 * unit(n), mode="wrap")
    cloud = ndimage.gaussian_filter(noise, 4 * unit(n), mode="wrap")
    grain = grain / grain.std() + 0.5 * cloud / cloud.std()
    grain /= grain.std()
    edge = np.exp(-np.maximum(inside, 0) / 1.2).astype(np.float32)
    return as_cover(inside, n), edge, grain, 1 - 0.04 * np.abs(grain)


def _print(colour: np.ndarray, element: Element, shift: np.ndarray, ink: float, mottle: np.ndarray) -> None:
    """Lay an element's ink over the paper, in place."""
    n = colour.shape[0]
    stamp = _stamp(replace(element, x=0, y=0, colour=_BLACK), n)
    height, width = stamp.shape
    top = round(n / 2 + (element.y + shift[1]) * unit(n) - height / 2)
    left = round(n / 2 + (element.x + shift[0]) * unit(n) - width / 2)
    region = np.s_[top : top + height, left : left + width]
    opacity = (stamp * mottle[region] * ink)[..., None]
    colour[region] += opacity * (np.array(element.colour, np.float32) - colour[region])


@lru_cache(maxsize=64)
def _stamp(element: Element, n: int) -> np.ndarray:
    """The ink of an element, (height, width) 0..1, drawn at the size of the canvas."""
    u = unit(n)
    size = element.size * u
    if element.shape == "text":
        font = ImageFont.load_default(size=size)
        left, top, right, bottom = font.getbbox(element.text)
        image = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
        ImageDraw.Draw(image).text((1 - left, 1 - top), element.text, fill=255, font=font)
    elif element.shape == "bars":
        edges = np.round(np.arange(len(element.text) + 1) * _MODULE_WIDTH * u).astype(int)
        row = np.repeat([255 * int(module) for module in element.text], np.diff(edges))
        image = Image.fromarray(np.tile(row.astype(np.uint8), (round(size), 1)))
    elif element.shape == "box":
        image = Image.new("L", (round(2 * (_PAPER[0] - 6) * u), round(2 * size)), 255)
    else:
        image = _icon(element.shape, size)
    return np.asarray(image, np.float32) / 255


def _icon(shape: str, half: float) -> Image.Image:
    """A handling mark in a frame, `half` pixels from the middle to the edge."""
    image = Image.new("L", (round(2 * half), round(2 * half)))
    draw = ImageDraw.Draw(image)
    line = max(1, round(half / 9))

    def at(*points: float) -> list[float]:
        """Points in -1..1 as pixels."""
        return [half * (1 + point) for point in points]

    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline=255, width=line)
    if shape == "umbrella":
        draw.pieslice(at(-0.7, -0.65, 0.7, 0.75), 180, 360, fill=255)
        draw.line(at(0, -0.75, 0, 0.55), fill=255, width=line)
        draw.arc(at(0, 0.35, 0.35, 0.75), 0, 180, fill=255, width=line)
    elif shape == "glass":
        draw.polygon(at(-0.45, -0.7, 0.45, -0.7, 0.3, 0.0, -0.3, 0.0), fill=255)
        draw.line(at(0, 0, 0, 0.6), fill=255, width=line + 1)
        draw.rectangle(at(-0.4, 0.58, 0.4, 0.72), fill=255)
    else:
        for x in (-0.38, 0.38):
            draw.polygon(at(x - 0.3, -0.15, x, -0.7, x + 0.3, -0.15), fill=255)
            draw.rectangle(at(x - 0.1, -0.15, x + 0.1, 0.45), fill=255)
        draw.rectangle(at(-0.7, 0.58, 0.7, 0.72), fill=255)
    return image
