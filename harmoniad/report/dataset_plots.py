"""Histograms of a data set's images for the page of `harmoniad data check`, each an SVG in base64."""

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

BINS = 32
MAX_SIZES = 5  # so many different sizes are shown one by one

COLOURS = {"good": "#3b75af", "defect": "#d1762c"}
_INK = "#7f8993"  # can be read on a light page and on a dark one


def brightness_plot(images: "pd.DataFrame") -> str:
    """The mean grey values of good images and, on top of them, of defects.

    Args:
        images: Rows of a manifest whose images can be decoded.
    """
    figure, axis = _figure("mean grey value, 0 is black")
    _draw_histogram(axis, images, images["brightness"], np.linspace(0, 255, BINS + 1))
    return _svg(figure)


def size_plot(images: "pd.DataFrame") -> str:
    """How many images have which size or, where there are many sizes, how long their longer side is.

    Args:
        images: Rows of a manifest whose images can be decoded.
    """
    areas = (images["width"] * images["height"]).groupby(image_sizes(images)).first()
    if len(areas) <= MAX_SIZES:
        figure, axis = _figure("images")
        _draw_bars(axis, images, list(areas.sort_values(ascending=False).index))
    else:
        figure, axis = _figure("longer side in pixels")
        longer = images[["width", "height"]].max(axis=1)
        low, high = int(longer.min()), int(longer.max())
        _draw_histogram(axis, images, longer, np.linspace(low, max(high, low + 1), BINS + 1))
    return _svg(figure)


def image_sizes(images: "pd.DataFrame") -> "pd.Series[str]":
    """The size of each image, such as 640×480."""
    return images["width"].astype(str) + "×" + images["height"].astype(str)


def _figure(label: str) -> "tuple[Figure, Axes]":
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6, 1.9), layout="constrained", facecolor="none")
    FigureCanvasSVG(figure)
    axis = figure.add_subplot(facecolor="none")
    axis.spines[["top", "left", "right"]].set_visible(False)
    axis.spines["bottom"].set_color(_INK)
    axis.tick_params(colors=_INK, labelsize=8, length=2.5)
    axis.set_xlabel(label, fontsize=8, color=_INK)
    return figure, axis


def _draw_histogram(axis: "Axes", images: "pd.DataFrame", values: "pd.Series", edges: "NDArray[np.float64]") -> None:
    base = np.zeros(len(edges) - 1)
    for label, colour in COLOURS.items():
        heights, _ = np.histogram(values[images["label"] == label], bins=edges)
        axis.bar(edges[:-1], heights, np.diff(edges), bottom=base, align="edge", color=colour)
        base += heights
    axis.set_xlim(edges[0], edges[-1])
    axis.locator_params(axis="y", integer=True, nbins=4)


def _draw_bars(axis: "Axes", images: "pd.DataFrame", order: list[str]) -> None:
    sizes = image_sizes(images)
    start = np.zeros(len(order))
    for label, colour in COLOURS.items():
        counts = sizes[images["label"] == label].value_counts().reindex(order, fill_value=0).to_numpy()
        axis.barh(order, counts, left=start, height=0.55, color=colour)
        start += counts
    room = max(len(order), 3) / 2  # a single bar is no thicker than one of three
    axis.set_ylim((len(order) - 1) / 2 + room, (len(order) - 1) / 2 - room)
    axis.locator_params(axis="x", integer=True, nbins=5)


def _svg(figure: "Figure") -> str:
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "harmoniad"}):  # names inside the file do not change from run to run
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return base64.b64encode(buffer.getvalue()).decode()
