"""Accuracy against time, as pictures inside the page."""

import base64
import io
from typing import TYPE_CHECKING

from harmoniad.leaderboard.figures import COSTS, Board, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR = "#0072b2"
PANELS = {
    "milliseconds": "milliseconds an image, from cached features (log)",
    "train_seconds": "seconds of training, from cached features (log)",
}


def accuracy_against_time(board: Board) -> list[str]:
    """Image AUROC against the time to score an image, and against that to train: an SVG each, in base64.

    A point bears the rank of its detector in the table; the line through it is the 95 % interval.
    """
    assert set(PANELS) <= set(COSTS)
    ranked = [(rank, row) for rank, row in enumerate(board.rows, start=1) if row.overall is not None]
    return [_panel(ranked, cost, label) for cost, label in PANELS.items()]


def _panel(ranked: list[tuple[int, Row]], cost: str, label: str) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4.2), layout="constrained", facecolor="none")
    FigureCanvasSVG(figure)
    axis = figure.subplots()
    _draw(axis, ranked, cost)
    axis.set_xlabel(label, fontsize=9)
    axis.set_ylabel("mean image AUROC", fontsize=9)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "harmoniad"}):  # names inside the file do not change from run to run
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return base64.b64encode(buffer.getvalue()).decode()


def _draw(axis: "Axes", ranked: list[tuple[int, Row]], cost: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    for rank, row in ranked:
        assert row.overall is not None
        x, y = max(row.figures[cost], 0.01), row.overall.estimate
        axis.vlines(x, row.overall.low, row.overall.high, color=COLOUR, linewidth=1, alpha=0.35)
        axis.plot(x, y, "o", markersize=13, color="white", markeredgecolor=COLOUR)
        axis.annotate(str(rank), (x, y), ha="center", va="center", fontsize=8, color="#1f2933")
    axis.set_xscale("log")
    axis.margins(0.08)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
