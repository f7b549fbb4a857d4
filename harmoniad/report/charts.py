"""The report's charts as SVG that stands in the page itself, in colours that colour-blind people can tell apart."""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harmoniad.report.plots import Distribution

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup
    from matplotlib.axes import Axes

# Okabe and Ito's colours without the yellow, which is too bright for a line on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES = ("solid", "dashed", "dashdot", "dotted", "solid", "dashed")
OTHERS = "#b8bec6"
GOOD, DEFECT, INK, SOFT = COLOURS[0], COLOURS[1], "#1f2933", "#5b6672"

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "harmoniad",
    "font.size": 10,
    "font.family": ["DejaVu Sans"],
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
}


@dataclass(frozen=True)
class Style:
    """How a category is drawn in all curves."""

    category: str
    colour: str
    dash: str


def styles(weakest_first: Sequence[str]) -> list[Style]:
    """A colour and a dash of its own for each of the weakest categories; the rest are drawn in grey."""
    drawn = list(zip(weakest_first, COLOURS, DASHES, strict=False))
    return [Style(*each) for each in drawn] + [Style(name, OTHERS, "solid") for name in weakest_first[len(drawn) :]]


def curve_chart(
    curves: "pd.DataFrame",
    drawn: Sequence[Style],
    labels: tuple[str, str],
    *,
    limit: float = 1.0,
    points: Mapping[str, tuple[float, float]] | None = None,
) -> "Markup":
    """Curves of several categories in one chart.

    Args:
        curves: Columns x, y and `category`, in this order.
        drawn: The categories, the most important first.
        labels: Of the x and the y axis.
        limit: Where the x axis ends.
        points: A point for each category to be marked, where it works at its threshold.
    """

    def draw(axis: "Axes") -> None:
        x, y = curves.columns[:2]
        for style in reversed(drawn):
            rows = curves[curves["category"] == style.category]
            axis.plot(rows[x], rows[y], color=style.colour, linestyle=style.dash, linewidth=1.8)
            if points and style.category in points:
                axis.plot(*points[style.category], "o", color=style.colour, markeredgecolor="white", markersize=7)
        axis.set(xlim=(-0.02 * limit, 1.02 * limit), ylim=(-0.02, 1.04), xlabel=labels[0], ylabel=labels[1])
        axis.xaxis.set_major_formatter(_percent)
        axis.yaxis.set_major_formatter(_percent)
        axis.grid(color="#e3e7eb", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)

    return _svg(3.7, 3.0, draw)


def score_chart(distribution: Distribution) -> "Markup":
    """The scores of one category: good parts above the axis, defective ones below it, the threshold as a line."""

    def draw(axis: "Axes") -> None:
        left, width = distribution.edges[:-1], np.diff(distribution.edges)
        axis.bar(left, distribution.good, width, align="edge", color=GOOD)
        axis.bar(left, -distribution.defect, width, align="edge", color=DEFECT)
        axis.axhline(0, color=SOFT, linewidth=0.8)
        axis.axvline(distribution.threshold, color=INK, linestyle="--", linewidth=1.4)
        _name_the_sides(axis, distribution.threshold)
        axis.set_yticks([])
        axis.set_xlabel("score")
        axis.spines[["top", "left", "right"]].set_visible(False)

    return _svg(3.7, 1.9, draw)


def _name_the_sides(axis: "Axes", threshold: float) -> None:
    """Say above the chart what happens to parts on either side of the threshold."""
    for side, offset, word in (("right", -6, "passed"), ("left", 6, "flagged")):
        place: dict[str, Any] = {"xycoords": axis.get_xaxis_transform(), "xytext": (offset, 0)}
        axis.annotate(
            word, (threshold, 1.02), ha=side, va="bottom", color=SOFT, fontsize=9, textcoords="offset points", **place
        )


def _percent(value: float, _position: float) -> str:
    return f"{100 * value:.0f} %"


def _svg(width: float, height: float, draw: Callable[["Axes"], None]) -> "Markup":
    """Draw in a figure of so many inches.

    Text stays text, so that the browser's fonts show any script; matplotlib escapes it. What only a file of its own
    needs is taken out. The same chart has the same ids.
    """
    import matplotlib
    from markupsafe import Markup
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    return Markup(re.sub(r' xmlns(:\w+)?="[^"]*"', "", drawing))
