"""The plot of a comparison: the distribution functions of new images and reference, which the test compares."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.files import replacing
from harmoniad.report.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harmoniad.factory.two_samples import Comparison

MEASURES = ("score", "features", "brightness", "sharpness")
MAX_CATEGORIES = 12
_REFERENCE, _NEW, _DRIFT = "#7a8793", "#0072b2", "#d55e00"
_NAMES = {"features": "features, the component that differs most", "score": "the champion's score"}


def write_plot(
    path: Path, table: Sequence[Mapping[str, Any]], comparisons: "Mapping[tuple[str, str], Comparison]"
) -> None:
    """Draw a row of four plots for each category that was compared, those with findings first.

    Args:
        path: The PNG.
        table: The rows of `drift.csv`.
        comparisons: By category and measure.

    Raises:
        HarmoniadError: The disk is full.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {(str(row["category"]), str(row["measure"])): row for row in table}
    found = {category: False for category, _ in comparisons}
    for category, measure in comparisons:
        found[category] |= bool(rows[category, measure]["drift"])
    order = sorted(found, key=lambda category: (not found[category], category))
    shown = order[:MAX_CATEGORIES]
    figure = Figure(figsize=(13, 2.3 * max(1, len(shown)) + 0.6), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    for number, category in enumerate(shown):
        for column, measure in enumerate(MEASURES):
            if (category, measure) in comparisons:
                axis = figure.add_subplot(len(shown), len(MEASURES), number * len(MEASURES) + column + 1)
                _draw(axis, rows[category, measure], comparisons[category, measure])
    more = f", {len(order) - len(shown)} more categories in drift.csv" if len(order) > len(shown) else ""
    title = f"Share of images below a value: new (blue; orange: drift) and reference (grey){more}"
    figure.suptitle(title if shown else "Too few images to compare", fontsize=10, x=0.01, ha="left")
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw(axis: "Axes", row: Mapping[str, Any], found: "Comparison") -> None:
    colour = _DRIFT if row["drift"] else _NEW
    axis.ecdf(found.reference, color=_REFERENCE, linewidth=1.5)
    axis.ecdf(found.new, color=colour, linewidth=2)
    measure = str(row["measure"])
    title = f"{one_line(str(row['category']))}: {row['new']} new, {row['reference']} known"
    axis.set_title(title, fontsize=9, parse_math=False)
    axis.set_xlabel(_NAMES.get(measure, measure), fontsize=8)
    note = f"{'DRIFT  ' if row['drift'] else ''}effect {row['effect']:+.2f}\np {row['p_adjusted']:.2g}"
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    axis.text(0.98, 0.06, note, transform=axis.transAxes, fontsize=8, ha="right", color=colour, bbox=behind)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
