"""From a model to its figures: the DVC stage `evaluate`."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.stages import Limits, reproduce
from harmoniad.files import read_json

METRICS = Path("results/evaluate/metrics.json")
REPORT = Path("results/report/index.html")


@flow
def evaluation(limits: Limits | None = None) -> None:
    """Measure the trained model on the test images.

    Args:
        limits: After how many minutes a stage is ended.
    """
    reproduce("evaluate", limits)
    create_table_artifact(_metrics_table(read_json(METRICS)), key="metrics", description="Metrics on the test images")
    if REPORT.exists():
        create_link_artifact(REPORT.resolve().as_uri(), link_text=REPORT.as_posix(), key="evaluation-report")


def _metrics_table(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    rows = {**metrics["categories"], "mean": metrics["mean"]}
    return [
        {"category": category, **{name: None if value is None else round(value, 4) for name, value in figures.items()}}
        for category, figures in rows.items()
    ]
