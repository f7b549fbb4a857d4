"""From what the entries measured to the rows of the leaderboard: means over the seeds, and how sure they are."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harmoniad.leaderboard.entries import Entry
from harmoniad.metrics.intervals import Estimate, mean_auroc_interval
from harmoniad.report.tables import METRICS

RESAMPLES = 1000
GROUPS = ("logical", "structural", "tiny")
"""Kinds of defects that have an image AUROC of their own, against all good images."""
FIGURES = METRICS | {"spro": "sPRO", "spro_logical": "sPRO logical", "spro_structural": "sPRO structural"}
COSTS = {"train_seconds": "train s", "milliseconds": "ms an image", "peak_memory_mb": "peak MB"}


@dataclass(frozen=True)
class Row:
    """A detector on a data set.

    Attributes:
        detector: Its name.
        seeds: Those it was measured with.
        problem: Why there are no figures; empty if there are.
        figures: Mean over the seeds of `FIGURES` and `COSTS`, those that are defined.
        spread: Their sample standard deviation over the seeds, where there are several.
        overall: Image AUROC, mean over categories and seeds; its interval is about other test images.
        groups: The same for the defects of those of `GROUPS` that the data set holds.
        categories: The same of each category.
    """

    detector: str
    seeds: tuple[int, ...]
    problem: str
    figures: Mapping[str, float]
    spread: Mapping[str, float]
    overall: Estimate | None = None
    groups: Mapping[str, Estimate] = field(default_factory=dict)
    categories: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """The rows of one data set, the best image AUROC first."""

    data_set: str
    fingerprint: str
    test_fingerprint: str
    measured_with: Mapping[str, Any]
    rows: Sequence[Row]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those that every detector was measured with."""
        return self.rows[0].seeds

    @property
    def groups(self) -> list[str]:
        """Those of `GROUPS` that the data set holds."""
        return [group for group in GROUPS if any(group in row.groups for row in self.rows)]

    @property
    def main_figures(self) -> dict[str, str]:
        """The pixel metrics of the first table that some detector has, and how people write them."""
        return {name: head for name, head in self.all_figures.items() if name in ("pixel_ap", "aupro", "spro")}

    @property
    def all_figures(self) -> dict[str, str]:
        """Those of `FIGURES` that some detector has, and how people write them."""
        return {name: head for name, head in FIGURES.items() if any(name in row.figures for row in self.rows)}

    @property
    def categories(self) -> list[str]:
        """Of the data set."""
        return sorted({name for row in self.rows for name in row.categories})


def boards_of(results: Iterable[tuple[Entry, Mapping[str, Any]]]) -> list[Board]:
    """Put what the entries measured together, a board a data set.

    Args:
        results: For each entry what `measure` gave, or `error`.
    """
    by_data: dict[str, dict[str, list[tuple[Entry, Mapping[str, Any]]]]] = defaultdict(lambda: defaultdict(list))
    for entry, measured in results:
        by_data[entry.data_set.name][entry.detector].append((entry, measured))
    return [_board(name, detectors) for name, detectors in by_data.items()]


def _board(name: str, detectors: Mapping[str, Sequence[tuple[Entry, Mapping[str, Any]]]]) -> Board:
    rows = [_row(detector, runs) for detector, runs in detectors.items()]
    rows.sort(key=lambda row: (-row.figures.get("image_auroc", -1.0), row.detector))
    entries = [pair for runs in detectors.values() for pair in runs]
    data_set = entries[0][0].data_set
    measured = next((measured for _, measured in entries if "error" not in measured), {})
    about = {key: measured[key] for key in ("encoder", "weights", "resolution", "threads") if key in measured}
    return Board(name, data_set.fingerprint, data_set.test_fingerprint, about, rows)


def _row(detector: str, runs: Sequence[tuple[Entry, Mapping[str, Any]]]) -> Row:
    seeds = tuple(entry.params.seed for entry, _ in runs)
    problems = [measured["error"] for _, measured in runs if "error" in measured]
    if problems:
        return Row(detector, seeds, problems[0], {}, {})
    values = [_values(measured) for _, measured in runs]
    defined = [name for name in FIGURES | COSTS if all(found.get(name) is not None for found in values)]
    columns = {name: [found[name] for found in values] for name in defined}
    scores = [measured["scores"] for _, measured in runs]
    categories = sorted({row["category"] for row in scores[0]})
    return Row(
        detector,
        seeds,
        "",
        figures={name: statistics.fmean(column) for name, column in columns.items()},
        spread={name: statistics.stdev(column) for name, column in columns.items() if len(column) > 1},
        overall=image_auroc(scores, categories),
        groups=_defined({group: image_auroc(scores, categories, group) for group in GROUPS}),
        categories=_defined({name: image_auroc(scores, [name]) for name in categories}),
    )


def _defined(estimates: Mapping[str, Estimate | None]) -> dict[str, Estimate]:
    return {name: estimate for name, estimate in estimates.items() if estimate is not None}


def _values(measured: Mapping[str, Any]) -> dict[str, Any]:
    return measured["mean"] | {
        "train_seconds": measured["train_seconds"],
        "milliseconds": 1000 / measured["scoring_images_per_second"],
        "peak_memory_mb": measured["peak_memory_bytes"] / 1e6,
    }


def image_auroc(
    runs: Sequence[Sequence[Mapping[str, Any]]], categories: Sequence[str], group: str | None = None
) -> Estimate | None:
    """The image AUROC, mean over categories and seeds, with its interval.

    Args:
        runs: For each seed the `scores` that `measure` gave, in the same order.
        categories: Those that count.
        group: One of `GROUPS`: only such defects count, against all good images; None for all defects.

    Returns:
        None where no category has good images and such defects.
    """
    chosen: dict[str, tuple[list[bool], list[list[float]]]] = {}
    for category in categories:
        places = [
            place
            for place, row in enumerate(runs[0])
            if row["category"] == category and (row["label"] == "good" or group in (None, row["group"], row["area"]))
        ]
        if places:
            labels = [runs[0][place]["label"] == "defect" for place in places]
            chosen[category] = labels, [[run[place]["score"] for place in places] for run in runs]
    return mean_auroc_interval(chosen, resamples=RESAMPLES)
