"""Logging one trained and evaluated model as an MLflow run."""

import datetime
import hashlib
import importlib.metadata
import itertools
import json
import platform
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.params import Params
from harmoniad.tracking import provenance, serving
from harmoniad.tracking.results import DVC_LOCK, EVALUATE_DIR, Results, files_to_log, read_latency

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric

LONGEST_PARAM, LONGEST_KEY = 6000, 250  # MLflow's own limits
_PACKAGES = ["mlflow", "numpy", "torch", "torchvision", "timm", "open_clip_torch", "safetensors", "pillow", "pydantic"]


@dataclass(frozen=True)
class Subject:
    """What is registered."""

    params: Params
    results: Results
    tags: dict[str, str]
    """What the run and the model version are known by."""


def describe(params: Params, results: Results, folder: Path) -> Subject:
    """Describe the model in `folder`, which the checked-out code made."""
    commit, encoder = provenance.git_commit(), results.model["encoder"]
    tags = {
        "registration_key": provenance.registration_key(results.data_fingerprint, params, commit),
        "model_digest": provenance.folder_digest(folder),
        "data_fingerprint": results.data_fingerprint,
        "test_fingerprint": results.test_fingerprint,
        "git_commit": commit,
        "git_dirty": str(provenance.git_is_dirty()).lower(),
        "dvc_lock_sha256": provenance.file_sha256(DVC_LOCK),
        "encoder": str(encoder["name"]),
        "weights": str(encoder["weights"]),
        "weights_sha256": str(encoder["weights_sha256"]),
        "resolution": str(encoder["resolution"]),
        "detector": str(results.model["detector"]["name"]),
        "seed": str(results.model["seed"]),
    }
    return Subject(params, results, tags)


def workplace() -> str:
    """A short name for this project on this machine, which tells the runs of two machines on one server apart."""
    return hashlib.sha256(f"{platform.node()}:{Path.cwd()}".encode()).hexdigest()[:16]


def log_run(client: "MlflowClient", experiment_id: str, subject: Subject, folder: Path) -> "LoggedModel":
    """Log parameters, figures, files and the model in `folder`; the run is FINISHED only when all of it is there."""
    import mlflow
    from mlflow.entities import Param

    now = datetime.datetime.now()
    run = client.create_run(
        experiment_id,
        run_name=f"{subject.params.register_.model_name} {now:%Y-%m-%d %H:%M}",
        tags={
            **subject.tags,
            "workplace": workplace(),
            "mlflow.source.name": "harmoniad register",
            "mlflow.source.git.commit": subject.tags["git_commit"],
        },
    )
    run_id = run.info.run_id
    metrics = subject.results.metrics
    with mlflow.start_run(run_id=run_id):
        params = flat_params(subject.params.model_dump(mode="json", by_alias=True, exclude={"notify"}))
        client.log_batch(run_id, params=[Param(key, value) for key, value in params.items()])
        client.log_batch(run_id, metrics=metrics_of(metrics["mean"] | {"latency_ms": read_latency()}))
        model_id = _log_model(folder)  # takes over the metrics that are there, hence before those of the categories
        by_category = [metrics_of(values, f"{category}/") for category, values in metrics["categories"].items()]
        client.log_batch(run_id, metrics=list(itertools.chain.from_iterable(by_category)))
        for path in files_to_log(subject.params.register_.heatmap_samples):
            client.log_artifact(run_id, str(path), _artifact_folder(path))
    return client.get_logged_model(model_id)


def _log_model(folder: Path) -> str:
    """Log it without an example, which MLflow would load model and encoder for, only to warn if it failed."""
    import mlflow

    info = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name("pyfunc_model.py")),
        artifacts={"model": str(folder)},
        signature=serving.signature(),
        metadata={serving.DIGEST: provenance.folder_digest(folder)},
        pip_requirements=pip_requirements(),
    )
    return str(info.model_id)


def pip_requirements() -> list[str]:
    """The packages that the model was made with, without a local build's suffix such as `+cpu`."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in _PACKAGES]


def flat_params(params: dict[str, Any]) -> dict[str, str]:
    """Parameters as MLflow takes them: `detector.harmoniad.width`, with long values cut."""
    return {key: value[:LONGEST_PARAM] for key, value in _leaves(params, "")}


def _leaves(section: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def metric_key(name: str) -> str:
    """The name with the characters replaced that MLflow does not take in a metric."""
    return re.sub(r"[^/\w.\- ]", "_", name)[-LONGEST_KEY:]


def metrics_of(values: Mapping[str, float | None], prefix: str = "") -> list["Metric"]:
    """Figures as MLflow takes them, without those that are not defined."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(metric_key(prefix + name), value, now, step=0) for name, value in values.items() if value is not None
    ]


def _artifact_folder(path: Path) -> str | None:
    """Where a file goes among the run's artifacts: as it lies in the evaluation's folder."""
    if EVALUATE_DIR not in path.parents or path.parent == EVALUATE_DIR:
        return None
    return path.parent.relative_to(EVALUATE_DIR).as_posix()
