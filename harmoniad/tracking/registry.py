"""The model registry: one version for the same data, parameters and commit, and the gate before production."""

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmoniad.params import Params
from harmoniad.tracking import judgement, promotion, scorecard, store
from harmoniad.tracking.gate import Decision
from harmoniad.tracking.model_files import has_files
from harmoniad.tracking.results import Results, model_folder, read_latency
from harmoniad.tracking.run import Subject, describe, log_run, workplace
from harmoniad.tracking.versions import CHALLENGER, aliases_of_model, aliases_of_version, all_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

KEY_METRICS = ["image_auroc", "pixel_auroc", "aupro"]


@dataclass(frozen=True)
class Registration:
    """How a registration ended."""

    version: int
    is_new: bool
    is_same_model: bool
    """False if a version of the same data, parameters and commit holds other weights: the code has changed."""
    aliases: list[str]
    decision: Decision
    compared_with: int | None
    """The version that was champion before, if there was one."""


def register(params: Params, results: Results) -> Registration:
    """Log and register the model in `results/` unless that was done before, and let the gate decide.

    Raises:
        HarmoniadError: The store cannot be used, another registration holds it, the results were measured on other
            images than the current ones, or the champion cannot be re-scored for a reason that the user can mend.
    """
    images = scorecard.current_images(params)
    card = scorecard.of_results(results, images)
    with promotion.alone(), store.connect() as client, model_folder() as folder:
        subject = describe(params, results, folder)
        experiment_id = store.experiment(client, params.register_.experiment)
        _delete_unfinished_runs(client, experiment_id)
        version = _registered_version(client, subject)
        is_new = version is None
        if version is None:
            model = _finished_model(client, experiment_id, subject) or log_run(client, experiment_id, subject, folder)
            version = _create_version(client, subject, model)
        is_same_model = version.tags.get("model_digest") == subject.tags["model_digest"]
        if is_same_model:
            scorecard.keep(subject.tags["model_digest"], images, card)
        if "gate_decision" not in version.tags:
            client.set_registered_model_alias(version.name, CHALLENGER, str(version.version))
            version = judgement.judge(client, params, version, images)
        elif is_same_model:
            judgement.write_report(version)
        return Registration(
            version=int(version.version),
            is_new=is_new,
            is_same_model=is_same_model,
            aliases=aliases_of_version(aliases_of_model(client, version.name), int(version.version)),
            decision=judgement.recorded(version),
            compared_with=int(version.tags["gate_champion"]) if "gate_champion" in version.tags else None,
        )


def _delete_unfinished_runs(client: "MlflowClient", experiment_id: str) -> None:
    """Clear away what killed registrations of this project left behind."""
    mine = "tags.registration_key != ''" if store.is_local() else f"tags.workplace = '{workplace()}'"
    for run in client.search_runs([experiment_id], f"attributes.status != 'FINISHED' and {mine}"):
        for model in _logged_models(client, experiment_id, run.info.run_id):
            client.delete_logged_model(model.model_id)
        client.delete_run(run.info.run_id)


def _logged_models(client: "MlflowClient", experiment_id: str, run_id: str) -> list["LoggedModel"]:
    return list(client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'"))


def _registered_version(client: "MlflowClient", subject: Subject) -> "ModelVersion | None":
    """The version that makes another one needless: same key, or same model and data, and its files are there."""
    wanted = subject.tags
    for version in all_versions(client, subject.params.register_.model_name):
        same_key = version.tags.get("registration_key") == wanted["registration_key"]
        same_model = all(version.tags.get(tag) == wanted[tag] for tag in ("model_digest", "data_fingerprint"))
        if (same_key or same_model) and has_files(f"models:/{version.name}/{version.version}"):
            return version
    return None


def _finished_model(client: "MlflowClient", experiment_id: str, subject: Subject) -> "LoggedModel | None":
    """The model of a complete run that has no version, because of a kill or because its version was deleted."""
    same = " and ".join(f"tags.{tag} = '{subject.tags[tag]}'" for tag in ("registration_key", "model_digest"))
    for run in client.search_runs([experiment_id], f"attributes.status = 'FINISHED' and {same}"):
        for model in _logged_models(client, experiment_id, run.info.run_id):
            if has_files(model.model_uri):
                return model
    return None


def _create_version(client: "MlflowClient", subject: Subject, model: "LoggedModel") -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    name, metrics = subject.params.register_.model_name, subject.results.metrics
    with contextlib.suppress(MlflowException):  # it exists already; anything else shows when the version is made
        client.create_registered_model(name)
    figures = {key: metrics["mean"].get(key) for key in KEY_METRICS}
    by_category = {category: values["image_auroc"] for category, values in metrics["categories"].items()}
    tags = {
        **subject.tags,
        **{key: repr(value) for key, value in figures.items() if value is not None},
        "image_auroc_by_category": json.dumps(by_category, ensure_ascii=False),
        **({"latency_ms": repr(latency)} if (latency := read_latency()) is not None else {}),
    }
    return client.create_model_version(name, model.model_uri, model.source_run_id, tags, model_id=model.model_id)
