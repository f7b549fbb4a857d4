"""The metrics as plain text for a terminal."""

from collections.abc import Mapping
from typing import Any

from harmoniad.report.text import columns, one_line, padded

METRICS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1max",
    "aupro": "AUPRO",
}
"""The keys of `results/evaluate/metrics.json` and how people write them."""


def figure(value: float | None) -> str:
    """A metric with three decimals, or a dash where it cannot be computed."""
    return "–" if value is None else f"{value:.3f}"


def measured_with(metrics: Mapping[str, Any]) -> str:
    """One line that says what the figures were measured with; no figure means anything without it."""
    return (
        f"detector {metrics['detector']}, encoder {metrics['encoder']}, weights {metrics['weights']}, "
        f"{metrics['resolution']} px, data {metrics['data_fingerprint']}, test images {metrics['test_fingerprint']}, "
        f"seed {metrics['seed']}"
    )


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """A row a category and the mean, and below them what was measured.

    Args:
        metrics: The content of `results/evaluate/metrics.json`.
    """
    rows = [(one_line(name), figures) for name, figures in metrics["categories"].items()]
    width = max(columns(name) for name in ["category", *(name for name, _ in rows)])
    lines = [_line("category", list(METRICS.values()), width)]
    rule = "-" * columns(lines[0])
    lines.append(rule)
    lines += [_line(name, _figures(figures), width) for name, figures in rows]
    lines += [rule, _line("mean", _figures(metrics["mean"]), width), "", one_line(measured_with(metrics))]
    return "\n".join(lines)


def _figures(row: Mapping[str, float | None]) -> list[str]:
    return [figure(row.get(key)) for key in METRICS]


def _line(name: str, cells: list[str], width: int) -> str:
    heads = METRICS.values()
    return padded(name, width) + "".join(f"  {cell:>{len(head)}}" for cell, head in zip(cells, heads, strict=True))
