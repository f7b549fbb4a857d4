"""The figures that the gate decides on, computed from what two models say of the same images."""

from typing import TYPE_CHECKING

import numpy as np

from harmoniad.metrics import auroc, auroc_difference, rates_at, recall_at_rate
from harmoniad.metrics.intervals import Estimate
from harmoniad.params import Gate
from harmoniad.tracking.gate import Figures
from harmoniad.tracking.scorecard import Scorecard

if TYPE_CHECKING:
    import pandas as pd


def figures(card: Scorecard, compared: set[str], false_positive_rate: float) -> Figures:
    """The figures of one model.

    Args:
        card: Its scores.
        compared: The categories over which means and shares are taken.
        false_positive_rate: The share of good parts that may be flagged.
    """
    test = card.table[card.table["split"] == "test"]
    held_out = card.table[(card.table["split"] == "held_out") & card.table["category"].isin(compared)]
    groups = {str(name): rows for name, rows in test.groupby("category", sort=True)}
    areas = {name: auroc(_is_defect(rows), _scores(rows)) for name, rows in groups.items()}
    shared = [rows for name, rows in groups.items() if name in compared]
    recalls = [recall_at_rate(_is_defect(rows), _scores(rows), false_positive_rate) for rows in shared]
    rates = [rates_at(_is_defect(rows), _scores(rows), rows["threshold"].to_numpy(np.float64)) for rows in shared]
    return Figures(
        image_auroc=_mean([area for name, area in areas.items() if name in compared]),
        categories=areas,
        trained_on=frozenset(card.trained_on),
        recall=_mean(recalls),
        balanced_accuracy=_mean([rate.balanced_accuracy for rate in rates]),
        held_out_share=float(held_out["is_anomalous"].mean()) if len(held_out) else None,
        latency_ms=card.latency_ms,
    )


def difference(first: Scorecard, second: Scorecard, rules: Gate) -> Estimate | None:
    """The second model's mean image AUROC minus the first one's, over the categories that both were trained on."""
    pairs = paired(first, second)
    pairs = pairs[pairs["split"] == "test"]
    categories = {
        str(name): (_is_defect(rows), _scores(rows, "_first"), _scores(rows, "_second"))
        for name, rows in pairs.groupby("category", sort=True)
    }
    return auroc_difference(categories, confidence=rules.confidence, resamples=rules.resamples)


def paired(first: Scorecard, second: Scorecard) -> "pd.DataFrame":
    """The images that both models scored: score, threshold and is_anomalous end in `_first` and `_second`."""
    columns = ["path", "score", "threshold", "is_anomalous"]
    return first.table.merge(
        second.table[columns], on="path", how="inner", validate="one_to_one", suffixes=("_first", "_second")
    )


def shared_categories(first: Scorecard, second: Scorecard) -> set[str]:
    """The categories that both models were trained on."""
    return set(first.trained_on) & set(second.trained_on)


def _is_defect(rows: "pd.DataFrame") -> np.ndarray:
    return (rows["label"] == "defect").to_numpy()


def _scores(rows: "pd.DataFrame", suffix: str = "") -> np.ndarray:
    return rows[f"score{suffix}"].to_numpy(np.float64)


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
