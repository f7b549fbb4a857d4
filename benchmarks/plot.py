"""Accuracy against speed as a picture."""

import itertools
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.tables import MEAN, NAMES
from harmoniad.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#8c6bb1")
X, Y, DEVIATION = "end_to_end_images_per_second_mean", "image_auroc_mean", "image_auroc_std"
FONT_SIZE = 8


def write_plot(path: Path, summary: "pd.DataFrame") -> None:
    """Draw a panel a data set: images a second with the encoder against the mean image AUROC, as PNG.

    Args:
        path: Where to.
        summary: What `tables.over_seeds` gives.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = summary[(summary["category"] == MEAN) & summary[Y].notna()]
    data_sets = list(dict.fromkeys(rows["data"]))
    columns = min(2, max(1, len(data_sets)))
    height = -(-max(1, len(data_sets)) // columns)
    figure = Figure(figsize=(6.4 * columns, 4.6 * height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    looks = _looks(rows)
    for number, name in enumerate(data_sets, start=1):
        axis = figure.add_subplot(height, columns, number)
        _draw(axis, rows[rows["data"] == name], looks)
        axis.set_title(name, fontsize=10, parse_math=False)
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.canvas.draw()  # the places of labels depend on the final layout
        figure.set_layout_engine("none")
        for axis in figure.axes:
            _label(axis)
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _looks(rows: "pd.DataFrame") -> dict[tuple[str, str], dict[str, str]]:
    """A marker for each encoder and a colour for each detector."""
    markers = dict(zip(dict.fromkeys(rows["encoder"]), itertools.cycle(MARKERS), strict=False))
    colours = dict(zip(dict.fromkeys(rows["detector"]), itertools.cycle(COLOURS), strict=False))
    return {(e, d): {"marker": markers[e], "color": colours[d]} for e in markers for d in colours}


def _draw(axis: "Axes", rows: "pd.DataFrame", looks: dict[tuple[str, str], dict[str, str]]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    for row in rows.to_dict("records"):
        look = looks[row["encoder"], row["detector"]]
        error = 0.0 if math.isnan(row[DEVIATION]) else row[DEVIATION]
        axis.errorbar(
            row[X],
            row[Y],
            yerr=error,
            **look,
            markersize=7,
            capsize=3,
            linewidth=1,
            label=", ".join(row[n] for n in NAMES[1:]),
        )
    axis.set_xscale("log")
    axis.set_xlim(rows[X].min() / 3, rows[X].max() * 3)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(y=0.25)
    axis.set_xlabel("images a second, encoder and detector (log)", fontsize=9)
    axis.set_ylabel("mean image AUROC (bars: standard deviation over seeds)", fontsize=9)
    axis.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=FONT_SIZE)


def _label(axis: "Axes") -> None:
    """Write each point's name where it covers no other point, name or error bar, and draw a line if that is far off."""
    from matplotlib.transforms import Bbox

    renderer: Any = axis.figure.canvas.get_renderer()  # type: ignore[union-attr]
    frame = axis.get_window_extent(renderer)
    handles, names = axis.get_legend_handles_labels()
    points = [handle.lines[0] for handle in handles]  # type: ignore[attr-defined]
    places = [axis.transData.transform((point.get_xdata()[0], point.get_ydata()[0])) for point in points]
    taken = [Bbox.from_bounds(x - 7, y - 7, 14, 14) for x, y in places]
    bars = [segment for handle in handles for bar in handle[2] for segment in bar.get_segments()]  # type: ignore[index]
    taken += [Bbox.from_extents(*axis.transData.transform(bar).ravel()).padded(3) for bar in bars]
    for place, point, name in sorted(zip(places, points, names, strict=True), key=lambda item: -item[0][1]):
        text = axis.annotate(
            name,
            place,
            xycoords="figure pixels",
            xytext=(9, 0),
            textcoords="offset points",
            fontsize=FONT_SIZE,
            color=point.get_color(),
            va="center",
            parse_math=False,
        )
        best, best_cost = (9.0, 0.0, "left"), math.inf
        for x, y, side in _offsets():
            text.set(position=(x, y), ha=side)
            box = text.get_window_extent(renderer).padded(2)
            overlap = sum(_common_area(box, other) for other in taken)
            outside = box.width * box.height - _common_area(box, frame)
            cost = 10 * overlap + 10 * outside + math.hypot(x, y)
            if cost < best_cost:
                best, best_cost = (x, y, side), cost
        text.set(position=best[:2], ha=best[2])
        taken.append(text.get_window_extent(renderer).padded(2))
        if math.hypot(*best[:2]) > 18:
            axis.annotate(
                "",
                place,
                xytext=best[:2],
                xycoords="figure pixels",
                textcoords="offset points",
                arrowprops={
                    "arrowstyle": "-",
                    "color": point.get_color(),
                    "linewidth": 0.6,
                    "shrinkA": 3,
                    "shrinkB": 4,
                },
            )


def _offsets() -> list[tuple[float, float, str]]:
    """Places to try for a label, in points from its point."""
    heights = [0.0, *(sign * step * 5.0 for step in range(1, 25) for sign in (1, -1))]
    sides = [(distance, "left") for distance in (9.0, 22.0, 40.0)] + [
        (-distance, "right") for distance in (9.0, 22.0, 40.0)
    ]
    return [(x, y, side) for y in heights for x, side in sides]


def _common_area(one: Any, other: Any) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(0.0, width) * max(0.0, height)
