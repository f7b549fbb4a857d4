"""What a comparison leaves behind: a table, a plot and the decision, in a folder and as a run in MLflow."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.errors import HarmoniadError
from harmoniad.files import sha256_file, sha256_json, write_bytes, write_json
from harmoniad.params import Params

if TYPE_CHECKING:
    import pandas as pd

    from harmoniad.factory.drift import Outcome
    from harmoniad.factory.two_samples import Comparison

DECISION, TABLE, IMAGES, PLOT = "drift.json", "drift.csv", "images.csv", "drift.png"
COLUMNS = [
    *("category", "measure", "new", "reference", "new_median", "reference_median"),
    *("statistic", "p", "p_adjusted", "effect", "drift", "note"),
]


@dataclass(frozen=True)
class Pictures:
    """What table and plot show beside the outcome.

    Attributes:
        comparisons: By category and measure.
        scored: The champion's verdict on each new image.
    """

    comparisons: "Mapping[tuple[str, str], Comparison]"
    scored: "pd.DataFrame"


def write_files(folder: Path, outcome: "Outcome", pictures: Pictures | None = None) -> None:
    """Write `drift.json` and `drift.csv`, and `drift.png` and `images.csv` where something was compared.

    Raises:
        HarmoniadError: The disk is full.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(outcome.table)
    write_bytes(folder / TABLE, text.getvalue().encode())
    content = {
        "decision": outcome.decision,
        "reasons": outcome.reasons,
        "new_images": outcome.new_images,
        "champion": outcome.champion,
        "skipped": outcome.skipped,
        "when": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
        "categories": outcome.table,
    }
    write_json(folder / DECISION, content)
    if pictures is None:
        for name in (IMAGES, PLOT):
            (folder / name).unlink(missing_ok=True)
        return
    from harmoniad.factory.drift_plot import write_plot

    write_bytes(folder / IMAGES, pictures.scored.to_csv(index=False, lineterminator="\n").encode())
    write_plot(folder / PLOT, outcome.table, pictures.comparisons)


def log(folder: Path, outcome: "Outcome", params: Params) -> None:
    """Log the files as a run of an experiment of its own, once for the same images, champion and decision.

    Where MLflow cannot take them, the outcome says so, and nothing else happens.
    """
    from harmoniad.tracking import store

    key = sha256_json([sha256_file(folder / IMAGES), sha256_file(folder / TABLE), outcome.champion])
    tags = {
        "drift_key": key,
        "drift_decision": outcome.decision,
        "drift_reasons": "\n".join(outcome.reasons)[:5000],
        "champion": str(outcome.champion),
    }
    try:
        with store.connect() as client:
            experiment = store.experiment(client, f"{params.register_.experiment}-drift")
            same = f"attributes.status = 'FINISHED' and tags.drift_key = '{key}'"
            if client.search_runs([experiment], same):
                return
            name = f"drift {datetime.now():%Y-%m-%d %H:%M}"
            run_id = client.create_run(experiment, run_name=name, tags=tags).info.run_id
            client.log_metric(run_id, "new_images", outcome.new_images)
            client.log_metric(run_id, "findings", sum(bool(row["drift"]) for row in outcome.table))
            for file in (DECISION, TABLE, PLOT, IMAGES):
                client.log_artifact(run_id, str(folder / file))
            client.set_terminated(run_id)
    except HarmoniadError as error:
        outcome.reasons.append(f"not logged: {error}")
