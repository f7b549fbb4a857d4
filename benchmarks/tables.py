"""Results of cells as tables: mean and standard deviation over the seeds, as markdown and CSV."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harmoniad.report.tables import METRICS

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("data", "encoder", "detector")
RECALLS = {"tiny": "recall tiny", "small": "recall small", "large": "recall large", "good": "good flagged"}
COSTS = {
    "train_seconds": "train s",
    "peak_memory_mb": "peak MB",
    "scoring_images_per_second": "img/s cached",
    "end_to_end_images_per_second": "img/s with encoder",
}
HEADS = {**METRICS, **RECALLS, **COSTS}
"""The keys of the tables and how people write them."""
MEAN = "mean"
_DECIMALS = {"train_seconds": 1, "peak_memory_mb": 0, "scoring_images_per_second": 1, "end_to_end_images_per_second": 1}


def long_table(results: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """A row for each cell and category, and one for the mean over the categories, with every figure of `HEADS`.

    The recalls of the mean are those over the images of all categories; costs stand in the rows of the mean alone.
    """
    import pandas as pd

    rows = []
    for result in results:
        names = {name: result[name] for name in (*NAMES, "seed")}
        costs = {key: result[key] for key in COSTS if key in result}
        costs["peak_memory_mb"] = result["peak_memory_bytes"] / 1e6
        found = result["found"]
        everything = {group: [sum(f[group][i] for f in found.values()) for i in (0, 1)] for group in RECALLS}
        rows.append({**names, "category": MEAN, **result["mean"], **_shares(everything), **costs})
        for category, figures in result["categories"].items():
            rows.append({**names, "category": category, **figures, **_shares(found.get(category, {}))})
    table = pd.DataFrame(rows, columns=[*NAMES, "seed", "category", *HEADS])
    return table.astype(dict.fromkeys(HEADS, "float64"))


def _shares(found: Mapping[str, Sequence[int]]) -> dict[str, float | None]:
    return {group: flagged / count if count else None for group, (flagged, count) in found.items()}


def over_seeds(table: "pd.DataFrame") -> "pd.DataFrame":
    """Mean and sample standard deviation over the seeds: columns `<figure>_mean` and `<figure>_std`, and `seeds`."""
    grouped = table.groupby([*NAMES, "category"], sort=False)
    figures = grouped[list(HEADS)].agg(["mean", "std"])
    figures.columns = [f"{figure}_{kind}" for figure, kind in figures.columns]
    figures.insert(0, "seeds", grouped["seed"].nunique())
    return figures.reset_index()


def markdown(summary: "pd.DataFrame", names: Sequence[str], figures: Sequence[str]) -> str:
    """A markdown table of some rows of `over_seeds`; the best mean metric of a data set and encoder is bold.

    Args:
        summary: The rows.
        names: Columns that say what a row is.
        figures: Keys of `HEADS`.
    """
    lines = [f"| {' | '.join([*names, *(HEADS[figure] for figure in figures)])} |"]
    lines.append("|" + "---|" * len(names) + "---:|" * len(figures))
    rivals = summary.groupby([name for name in names if name != "detector"])
    count, best = (
        rivals["detector"].transform("size"),
        rivals[[f"{metric}_mean" for metric in METRICS]].transform("max"),
    )
    for index, row in summary.iterrows():
        cells = [str(row[name]).replace("|", "\\|") for name in names]
        for figure in figures:
            text = mean_and_deviation(row[f"{figure}_mean"], row[f"{figure}_std"], _DECIMALS.get(figure, 3))
            has_rivals = figure in METRICS and count.at[index] > 1
            is_best = has_rivals and row[f"{figure}_mean"] == best.at[index, f"{figure}_mean"]
            cells.append(f"**{text}**" if is_best else text)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def mean_and_deviation(mean: float, deviation: float, decimals: int = 3, sign: str = "") -> str:
    """Such as `0.913 ± 0.004`; without the second where there is one seed only, and a dash where there is no figure."""
    if math.isnan(mean):
        return "–"
    text = f"{mean:{sign}.{decimals}f}"
    return text if math.isnan(deviation) else f"{text} ± {deviation:.{decimals}f}"


def counts_by_area(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line a data set: how many test images each recall rests on."""
    seen: set[str] = set()
    for result in results:
        if result["data"] in seen:
            continue
        seen.add(result["data"])
        counts = {group: sum(found[group][1] for found in result["found"].values()) for group in RECALLS}
        yield (
            f"{result['data']}: {result['test_images']} test images, of which {counts['good']} good and with a marked "
            f"defect {counts['tiny']} tiny, {counts['small']} small, {counts['large']} large"
        )
