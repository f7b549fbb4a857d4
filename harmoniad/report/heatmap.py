"""Pictures that show where a part looks wrong, all of them on one fixed colour scale."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from harmoniad.files import replacing
from harmoniad.report.samples import FALSE_ALARM, MISSED, outcome
from harmoniad.report.text import one_line

LONGEST_SIDE = 384  # of a panel; strips, more than twice as long as they are wide, get twice as much
CAPTION_HEIGHT = 34
LABEL_HEIGHT = 26
GAP = 8
NARROWEST, NARROWEST_COLUMN = 560, 120  # so that caption and labels fit narrow panels
KEY_WIDTH, WIDTH_FOR_KEY = 96, 360
IMAGE, ANOMALY_MAP, MARKED_DEFECT = "image", "anomaly map", "marked defect"

# Position on the scale (0 is the normal level, 1 the threshold), colour and opacity. Below the threshold a faint blue
# that no one takes for an alarm; at the threshold it jumps to yellow.
STOPS = (
    (0.0, (40, 110, 190), 0.0),
    (0.5, (40, 110, 190), 0.06),
    (1.0, (40, 110, 190), 0.30),
    (1.0, (255, 221, 0), 0.65),
    (1.5, (255, 128, 0), 0.70),
    (2.0, (214, 0, 28), 0.75),
)
_STEPS = 256  # colours between the normal level and the threshold, and as many above it

_WHITE = (255, 255, 255)
_INK, _GREY = (31, 41, 51), (94, 104, 116)
_ALARM = (176, 32, 22)
_CONTOUR = (90, 0, 10)
_OUTLINE, _HALO = (0, 225, 255), (0, 25, 45)

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Scale:
    """One colour scale for all images that are judged by one threshold.

    Attributes:
        normal_level: The median pixel of the maps of held-out good images; nothing is drawn below it.
        threshold: The image score above which a part is flagged; here the colour jumps to yellow.
    """

    normal_level: float
    threshold: float

    def positions(self, anomaly_map: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where values lie on the scale: 0 is the normal level, 1 the threshold, 2 as far above it again."""
        distance = self.threshold - self.normal_level
        # A category may have a threshold below the normal level of all; then the colours start at the threshold.
        distance = max(distance, 1e-3 * abs(self.threshold), 1e-12)
        return 1 + (anomaly_map - np.float32(self.threshold)) / np.float32(distance)


@dataclass(frozen=True)
class Caption:
    """What is written below a picture.

    Attributes:
        category: The category of the part.
        defect: The kind of defect, "good" for a good part, empty if nobody knows.
        score: The image score.
        threshold: The threshold that gave the verdict.
        is_anomalous: The verdict.
    """

    category: str
    defect: str
    score: float
    threshold: float
    is_anomalous: bool

    @property
    def verdict(self) -> str:
        """The verdict in two or three words; with a known defect it says whether the verdict is right."""
        if not self.defect:
            return "flagged" if self.is_anomalous else "passed"
        return outcome(self.defect != "good", self.is_anomalous)


def draw(
    image: Picture,
    anomaly_map: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    *,
    scale: Scale,
    caption: Caption,
) -> Picture:
    """Draw the image, the image under its anomaly map and, with a mask, the image with the marked defect.

    Args:
        image: (H, W, 3) uint8.
        anomaly_map: (h, w) float32 raw scores; stretched to the image if its size differs.
        mask: (h, w) bool, or None if there is none.
        scale: The colour scale, the same for all images judged by one threshold.
        caption: The text below.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: The anomaly map holds NaN.
    """
    size = panel_size(image.shape[1], image.shape[0], LONGEST_SIDE)
    return _framed(_panels(image, _resized(anomaly_map, size), mask, size, scale), caption)


def small_panels(
    image: Picture, anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_] | None, *, scale: Scale, longest_side: int
) -> list[tuple[str, Picture]]:
    """The pictures of `draw` one by one and small, each with its name; arguments and errors as there.

    Where the map shrinks, its highest pixel counts and not the mean: what lies above the threshold stays visible,
    however small it is in a large image.

    Args:
        longest_side: Of a picture, in pixels; strips get twice as much.
    """
    size = panel_size(image.shape[1], image.shape[0], longest_side)
    panels = _panels(image, _resized(shrunk(anomaly_map, *size), size), mask, size, scale)
    return [(name, _as_picture(panel)) for name, panel in panels]


def _panels(
    image: Picture,
    anomaly_map: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    size: tuple[int, int],
    scale: Scale,
) -> list[tuple[str, NDArray[np.float32]]]:
    photo = _resized(image, size)
    panels = [(IMAGE, photo), (ANOMALY_MAP, _with_heat(photo, anomaly_map, scale))]
    if mask is not None and mask.any():
        panels.append((MARKED_DEFECT, _with_outline(photo, mask)))
    return panels


def save(path: Path, picture: Picture) -> None:
    """Write a picture as PNG in one step.

    Raises:
        HarmoniadError: The disk is full.
    """
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", compress_level=1)


def panel_size(width: int, height: int, longest_side: int) -> tuple[int, int]:
    """Width and height at which an image is shown, by its own proportions."""
    longest, shortest = max(height, width), min(height, width)
    factor = longest_side * (2 if longest > 2 * shortest else 1) / longest
    return max(1, round(width * factor)), max(1, round(height * factor))


def _resized(array: Picture | NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize an image or a map to (width, height); averages where it shrinks."""
    resized = Image.fromarray(array).resize(size, Image.Resampling.BILINEAR, reducing_gap=1.1)
    return np.asarray(resized, np.float32)


def _with_heat(photo: NDArray[np.float32], anomaly_map: NDArray[np.float32], scale: Scale) -> NDArray[np.float32]:
    if np.isnan(anomaly_map).any():
        raise ValueError("the anomaly map holds NaN")
    positions = scale.positions(anomaly_map)
    colours, opacity = _colours()
    step = np.clip(positions * _STEPS, 0, 2 * _STEPS).astype(np.intp)
    heat = photo * (1 - opacity[step]) + colours[step] * opacity[step]
    above = positions >= 1
    heat[_grown(above, 1) & ~above] = _CONTOUR
    return heat


@lru_cache(maxsize=1)
def _colours() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colour (n, 3) and opacity (n, 1) at every step of the scale."""
    positions = np.arange(2 * _STEPS + 1) / _STEPS
    table = np.array([(*colour, opacity) for _, colour, opacity in STOPS], np.float32)
    # Of two stops at one place the first counts below it and the second from there on.
    places = np.array([place for place, _, _ in STOPS])
    places[:-1][np.diff(places) == 0] -= 1e-9
    columns = [np.interp(positions, places, column) for column in table.T]
    return np.stack(columns[:3], axis=1).astype(np.float32), columns[3][:, None].astype(np.float32)


def _with_outline(photo: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Outline the marked defect just outside its edge, bright with a dark halo so that it shows on any part."""
    height, width = photo.shape[:2]
    marked = _shrunk(mask, height, width, np.logical_or)  # so even a defect of one pixel in a large image stays
    for axis, length in enumerate((height, width)):  # stretched, where the image is shown larger than it is
        marked = marked.take(np.arange(length) * marked.shape[axis] // length, axis=axis)
    outlined = photo.copy()
    outlined[_grown(marked, 3) & ~marked] = _HALO
    outlined[_grown(marked, 2) & ~marked] = _OUTLINE
    return outlined


def shrunk(anomaly_map: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """A map (h, w) reduced to at most (height, width); of what falls together, the highest pixel counts."""
    return _shrunk(anomaly_map, height, width, np.maximum)


def _shrunk(array: NDArray, height: int, width: int, joined: np.ufunc) -> NDArray:
    """Reduce (H, W) to at most (height, width): what falls together is joined by a maximum or an "or"."""
    for axis, length in enumerate((height, width)):
        if array.shape[axis] > length:
            starts = np.arange(length) * array.shape[axis] // length
            array = joined.reduceat(array, starts, axis=axis)
    return array


def _as_picture(panel: NDArray[np.float32]) -> Picture:
    return np.rint(panel).astype(np.uint8)


def _grown(region: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The region with a border of so many pixels."""
    grown = region.copy()
    for _ in range(pixels):
        for rows in (grown, grown.T):
            rows[1:] |= rows[:-1]
            rows[:-1] |= rows[1:]
    return grown


def _framed(panels: list[tuple[str, NDArray[np.float32]]], caption: Caption) -> Picture:
    """Put panels side by side (wide strips one below the other), each with its label above, and the caption below."""
    height, width = panels[0][1].shape[:2]
    below = width > 2 * height
    column, row = max(width, NARROWEST_COLUMN) + GAP, height + LABEL_HEIGHT
    across, down = (1, len(panels)) if below else (len(panels), 1)
    total = max(across * column + GAP, NARROWEST)
    canvas = Image.new("RGB", (total, down * row + CAPTION_HEIGHT), _WHITE)
    pen = ImageDraw.Draw(canvas)
    start = (total - across * column + GAP) // 2
    for number, (label, panel) in enumerate(panels):
        left, top = (start, number * row) if below else (start + number * column, 0)
        pen.text((left, top + LABEL_HEIGHT / 2), label, _GREY, _font(15), anchor="lm")
        if label == ANOMALY_MAP and column >= WIDTH_FOR_KEY:
            _draw_key(canvas, left + column - GAP, top)
        canvas.paste(Image.fromarray(_as_picture(panel)), (left, top + LABEL_HEIGHT))
    _write_caption(pen, canvas.size, caption)
    return np.asarray(canvas)


def _draw_key(canvas: Image.Image, right: int, top: int) -> None:
    """The colour scale with its words, ending at `right` in the row of labels."""
    pen, font = ImageDraw.Draw(canvas), _font(13)
    middle = top + LABEL_HEIGHT // 2
    after, before = "above threshold", "below"
    end = round(right - font.getlength(after)) - 6
    colours, opacity = _colours()
    step = np.linspace(0, len(colours) - 1, KEY_WIDTH).round().astype(int)
    bar = colours[step] * opacity[step] + 255 * (1 - opacity[step])
    bar = np.broadcast_to(np.rint(bar).astype(np.uint8), (10, KEY_WIDTH, 3))
    canvas.paste(Image.fromarray(np.ascontiguousarray(bar)), (end - KEY_WIDTH, middle - 5))
    pen.rectangle((end - KEY_WIDTH - 1, middle - 6, end, middle + 5), outline=_GREY)
    pen.line((end - KEY_WIDTH // 2, middle - 6, end - KEY_WIDTH // 2, middle + 5), _CONTOUR)
    pen.text((right, middle), after, _GREY, font, anchor="rm")
    pen.text((end - KEY_WIDTH - 6, middle), before, _GREY, font, anchor="rm")


def _write_caption(pen: ImageDraw.ImageDraw, size: tuple[int, int], caption: Caption) -> None:
    width, height = size
    middle = height - CAPTION_HEIGHT / 2
    verdict, bold, plain = caption.verdict, _font(15, bold=True), _font(15)
    wrong = verdict in (MISSED, FALSE_ALARM)
    pen.text((width - GAP, middle), verdict, _ALARM if wrong else _INK, bold, anchor="rm")
    figures = f"score {caption.score:.4g}, threshold {caption.threshold:.4g}"
    right = width - GAP - bold.getlength(verdict) - 2 * GAP
    pen.text((right, middle), figures, _INK, plain, anchor="rm")
    names = " \N{MIDDLE DOT} ".join(one_line(name) for name in (caption.category, caption.defect) if name)
    room = right - plain.getlength(figures) - 3 * GAP
    pen.text((GAP, middle), _shortened(names, plain, room), _INK, plain, anchor="lm")


def _shortened(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """The text, or as much of its start as fits, with an ellipsis."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text}…"


@lru_cache(maxsize=4)
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has Latin, Greek and Cyrillic letters."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)
