"""Curves and distributions of the image scores for `dvc plots` and for the report."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harmoniad.files import replacing, write_bytes
from harmoniad.metrics.curves import accumulate
from harmoniad.report.tables import METRICS
from harmoniad.report.text import one_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MAX_POINTS = 200  # of a curve
BINS = 30

Floats = NDArray[np.float64]
Curve = Callable[[NDArray[np.bool_], Floats], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Distribution:
    """How the scores of one category's test images are spread.

    Attributes:
        category: Its name.
        edges: (n + 1,) of the bins; the threshold is one of them, so that no bar stands on both sides of it.
        good: (n,) share of the good images in each bin.
        defect: (n,) the same for images with a defect.
        threshold: Above which score an image is flagged.
    """

    category: str
    edges: Floats
    good: Floats
    defect: Floats
    threshold: float


def write_plots(folder: Path, metrics: Mapping[str, Any], scores: "pd.DataFrame", pro: "pd.DataFrame") -> None:
    """Write the curves and the other tables for `dvc plots`, and `scores.png`, into a folder.

    Args:
        folder: Usually `results/evaluate/plots`.
        metrics: The content of `results/evaluate/metrics.json`.
        scores: With the columns of `results/evaluate/scores.csv`.
        pro: The PRO curves, see `pro_curves`.

    Raises:
        HarmoniadError: The disk is full.
    """
    import pandas as pd

    test = scores[scores["split"] == "test"]
    _write_table(folder / "roc.csv", roc_curves(test))
    _write_table(folder / "precision_recall.csv", precision_recall_curves(test))
    _write_table(folder / "pro.csv", pro)
    figures = pd.DataFrame.from_dict(dict(metrics["categories"]), orient="index", columns=list(METRICS))
    _write_table(folder / "categories.csv", figures.rename_axis("category").reset_index())
    verdict = np.where(test["is_anomalous"], "flagged", "passed")
    _write_table(folder / "confusion.csv", pd.DataFrame({"actual": test["label"], "verdict": verdict}))
    write_score_plot(folder / "scores.png", distributions(scores))


def roc_curve(is_defect: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """The ROC curve with a point at each distinct score.

    Args:
        is_defect: (n,) with at least one defect and one good image.
        scores: (n,)

    Returns:
        False positive rates and true positive rates, both from 0 to 1.
    """
    hits, alarms = _cumulative(is_defect, scores)
    return np.r_[0, alarms / alarms[-1]], np.r_[0, hits / hits[-1]]


def precision_recall_curve(is_defect: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """Precision against recall with a point at each distinct score.

    Args:
        is_defect: (n,) with at least one defect.
        scores: (n,)

    Returns:
        Recalls from 0 to 1 and precisions, the first of which is 1 by convention.
    """
    hits, alarms = _cumulative(is_defect, scores)
    return np.r_[0, hits / hits[-1]], np.r_[1, hits / (hits + alarms)]


def _cumulative(is_defect: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """How many defects and how many good images reach each distinct score, from the highest score down."""
    _, (hits, alarms) = accumulate(scores, np.stack([is_defect, ~is_defect]))
    return hits, alarms


def distributions(scores: "pd.DataFrame") -> list[Distribution]:
    """The distribution of the test scores of each category, in the order of the names."""
    found = []
    for category, rows in scores[scores["split"] == "test"].groupby("category", sort=True):
        threshold = float(rows["threshold"].iloc[0])
        values, is_defect = rows["score"].to_numpy(np.float64), (rows["label"] == "defect").to_numpy()
        edges = _edges(values, threshold)
        good, defect = _shares(values[~is_defect], edges), _shares(values[is_defect], edges)
        found.append(Distribution(str(category), edges, good, defect, threshold))
    return found


def _edges(scores: Floats, threshold: float) -> Floats:
    """Edges of about `BINS` bins that span all scores and the threshold."""
    lowest, highest = min(scores.min(), threshold), max(scores.max(), threshold)
    width = (highest - lowest) / BINS or 1.0
    first, last = np.ceil((lowest - threshold) / width) - 1, np.ceil((highest - threshold) / width)
    return threshold + width * np.arange(first, last + 1)


def _shares(scores: Floats, edges: Floats) -> Floats:
    """Share of the scores in each bin; one on an edge belongs to the bin below it, as one on the threshold passes."""
    bins = len(edges) - 1
    numbers = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, bins - 1)
    return np.bincount(numbers, minlength=bins) / max(1, len(scores))


def write_score_plot(path: Path, found: list[Distribution]) -> None:
    """Draw the distributions as PNG: good images above the axis, defects below it, the threshold as a line.

    Letters that DejaVu Sans lacks, such as Chinese ones, show as boxes; the HTML report has them right.

    Raises:
        HarmoniadError: The disk is full.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, max(1, len(found)))
    rows = max(1, -(-len(found) // columns))
    figure = Figure(figsize=(4.2 * columns, 2.4 * rows + 0.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for number, distribution in enumerate(found, start=1):
        _draw_distribution(figure.add_subplot(rows, columns, number), distribution)
    if found:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False)
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        # Without the version of matplotlib, so that the same scores give the same bytes.
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_distribution(axis: "Axes", distribution: Distribution) -> None:
    left, width = distribution.edges[:-1], np.diff(distribution.edges)
    axis.bar(left, distribution.good, width, align="edge", color="#3b75af", label="good")
    axis.bar(left, -distribution.defect, width, align="edge", color="#d1762c", label="defect")
    axis.axvline(distribution.threshold, color="#444444", linestyle="--", linewidth=1.2, label="threshold")
    axis.axhline(0, color="#444444", linewidth=0.8)
    axis.set_title(one_line(distribution.category), fontsize=10, parse_math=False)
    axis.set_yticks([])
    axis.tick_params(labelsize=8)
    axis.spines[["top", "left", "right"]].set_visible(False)


def roc_curves(test: "pd.DataFrame") -> "pd.DataFrame":
    """Points of the ROC curve of each category: `false_positive_rate`, `true_positive_rate`, `category`."""
    return _curves(test, roc_curve, ("false_positive_rate", "true_positive_rate"))


def precision_recall_curves(test: "pd.DataFrame") -> "pd.DataFrame":
    """Points of the precision of each category: `recall`, `precision`, `category`."""
    return _curves(test, precision_recall_curve, ("recall", "precision"))


def pro_curves(curves: Mapping[str, tuple[Floats, Floats]]) -> "pd.DataFrame":
    """The PRO curve of each category as a table: `false_positive_rate`, `mean_overlap`, `category`."""
    import pandas as pd

    parts = [
        pd.DataFrame({"false_positive_rate": x, "mean_overlap": y, "category": name}) for name, (x, y) in curves.items()
    ]
    columns = ["false_positive_rate", "mean_overlap", "category"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _curves(test: "pd.DataFrame", curve: Curve, names: tuple[str, str]) -> "pd.DataFrame":
    import pandas as pd

    parts = list(_curve_tables(test, curve, names))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*names, "category"])


def _curve_tables(test: "pd.DataFrame", curve: Curve, names: tuple[str, str]) -> Iterator["pd.DataFrame"]:
    """The thinned curve of each category that has good images as well as defects."""
    import pandas as pd

    for category, rows in test.groupby("category", sort=True):
        is_defect = (rows["label"] == "defect").to_numpy()
        if is_defect.any() and not is_defect.all():
            x, y = curve(is_defect, rows["score"].to_numpy(np.float64))
            kept = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(int))
            yield pd.DataFrame({names[0]: x[kept], names[1]: y[kept], "category": category})


def _write_table(path: Path, table: "pd.DataFrame") -> None:
    write_bytes(path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode())
