"""The entries of the leaderboard as MLflow runs, all in one experiment, so that MLflow compares them."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harmoniad.tracking import provenance, store
from harmoniad.tracking.run import flat_params, metrics_of

if TYPE_CHECKING:
    from harmoniad.leaderboard.entries import Entry

_ONE_AT_A_TIME = threading.Lock()  # MLflow's address is one for the whole process


def experiment_name(name: str) -> str:
    """The experiment beside that of the registered models."""
    return f"{name} leaderboard"


def log_entry(entry: "Entry", measured: Mapping[str, Any]) -> bool:
    """Log what an entry measured, unless a run of the same entry is there.

    Returns:
        Whether a run was made.

    Raises:
        HarmoniadError: The store cannot be used.
    """
    with _ONE_AT_A_TIME, store.connect() as client:
        experiment = store.experiment(client, experiment_name(entry.params.register_.experiment))
        found = client.search_runs([experiment], f"tags.entry = '{entry.key}' and attributes.status = 'FINISHED'")
        if found:
            return False
        _log(client, experiment, entry, measured)
        return True


def _log(client: Any, experiment: str, entry: "Entry", measured: Mapping[str, Any]) -> None:
    import pandas as pd
    from mlflow.entities import Param

    run = client.create_run(
        experiment,
        run_name=entry.label,
        tags={
            "entry": entry.key,
            "data_set": entry.data_set.name,
            "data_fingerprint": entry.data_set.fingerprint,
            "test_fingerprint": entry.data_set.test_fingerprint,
            "detector": entry.detector,
            "encoder": str(measured["encoder"]),
            "weights": str(measured["weights"]),
            "resolution": str(measured["resolution"]),
            "seed": str(entry.params.seed),
            "git_commit": provenance.git_commit(),
            "mlflow.source.name": "harmoniad leaderboard",
        },
    )
    run_id = run.info.run_id
    kept = entry.params.model_dump(
        mode="json", by_alias=True, include={"encoder", "views", "train", "evaluate", "seed"}
    )
    design = {"name": entry.detector, entry.detector: getattr(entry.params.detector, entry.detector).model_dump()}
    params = flat_params({"data_set": entry.data_set.name, **kept, "detector": design})
    client.log_batch(run_id, params=[Param(key, value) for key, value in params.items()])
    costs = {
        "train_seconds": measured["train_seconds"],
        "scoring_images_per_second": measured["scoring_images_per_second"],
        "peak_memory_mb": measured["peak_memory_bytes"] / 1e6,
    }
    client.log_batch(run_id, metrics=metrics_of(measured["mean"] | costs))
    for category, figures in measured["categories"].items():
        client.log_batch(run_id, metrics=metrics_of(figures, f"{category}/"))
    client.log_text(run_id, pd.DataFrame(measured["scores"]).to_csv(index=False), "scores.csv")
    client.set_terminated(run_id)
