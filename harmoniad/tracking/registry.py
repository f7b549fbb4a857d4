"""The model registry: one version for the same data, parameters and commit, and the gate before production."""

import contextlib
import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.params import Params, Register
from harmoniad.tracking import gate, store
from harmoniad.tracking.results import Results, model_folder
from harmoniad.tracking.run import Subject, describe, log_run, workplace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER, CHAMPION = "challenger", "champion"
LOCK = STATE_DIR / "register.lock"
SECONDS_TO_WAIT = 600
KEY_METRICS = ["image_auroc", "pixel_auroc", "aupro"]


@dataclass(frozen=True)
class Registration:
    """How a registration ended."""

    version: int
    is_new: bool
    is_same_model: bool
    """False if a version of the same data, parameters and commit holds other weights: the code has changed."""
    aliases: list[str]
    promoted: bool
    reasons: list[str]
    compared_with: int | None
    """The version that was champion before, if there was one."""


@dataclass(frozen=True)
class VersionRow:
    """One registered version, as `harmoniad models` lists it."""

    version: int
    aliases: list[str]
    created: str
    detector: str
    encoder: str
    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None
    data_fingerprint: str
    decision: str


def register(params: Params, results: Results) -> Registration:
    """Log and register the model in `results/` unless that was done before, and let the gate decide.

    Raises:
        HarmoniadError: The store cannot be used, or another registration holds it.
    """
    with _alone(), store.connect() as client, model_folder() as folder:
        subject = describe(params, results, folder)
        experiment_id = store.experiment(client, params.register_.experiment)
        _delete_unfinished_runs(client, experiment_id)
        version = _registered_version(client, subject)
        is_new = version is None
        if version is None:
            model = _finished_model(client, experiment_id, subject) or log_run(client, experiment_id, subject, folder)
            version = _create_version(client, subject, model)
        if "gate_decision" not in version.tags:
            version = _let_the_gate_decide(client, params.register_, version)
        return Registration(
            version=int(version.version),
            is_new=is_new,
            is_same_model=version.tags.get("model_digest") == subject.tags["model_digest"],
            aliases=_aliases_of(_aliases(client, version.name), int(version.version)),
            promoted=version.tags["gate_decision"] == "promoted",
            reasons=version.tags["gate_reasons"].split("\n"),
            compared_with=int(version.tags["gate_champion"]) if "gate_champion" in version.tags else None,
        )


def list_versions(params: Params) -> list[VersionRow]:
    """All the versions of the registered model, the newest first; none if nothing was registered yet.

    Raises:
        HarmoniadError: The store cannot be used.
    """
    if store.is_local() and not store.DATABASE.is_file():
        return []
    name = params.register_.model_name
    with store.connect() as client:
        aliases = _aliases(client, name)
        return [_row(version, aliases) for version in _versions(client, name)]


def _row(version: "ModelVersion", aliases: dict[str, int]) -> VersionRow:
    tags = version.tags
    return VersionRow(
        version=int(version.version),
        aliases=_aliases_of(aliases, int(version.version)),
        created=f"{datetime.datetime.fromtimestamp(version.creation_timestamp / 1000):%Y-%m-%d %H:%M}",
        detector=tags.get("detector", ""),
        encoder=tags.get("encoder", ""),
        image_auroc=_number(tags.get("image_auroc")),
        pixel_auroc=_number(tags.get("pixel_auroc")),
        aupro=_number(tags.get("aupro")),
        data_fingerprint=tags.get("data_fingerprint", ""),
        decision=tags.get("gate_decision", ""),
    )


def _number(text: str | None) -> float | None:
    return float(text) if text else None


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one registration at a time work in this project, so that an unfinished run is a dead one."""
    import filelock

    LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(LOCK, timeout=SECONDS_TO_WAIT):
            yield
    except filelock.Timeout as error:
        raise HarmoniadError(
            f"{LOCK.as_posix()}: another registration has been running for {SECONDS_TO_WAIT // 60} minutes. "
            "Wait for it or end it."
        ) from error


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
    for version in _versions(client, subject.params.register_.model_name):
        same_key = version.tags.get("registration_key") == wanted["registration_key"]
        same_model = all(version.tags.get(tag) == wanted[tag] for tag in ("model_digest", "data_fingerprint"))
        if (same_key or same_model) and _has_files(f"models:/{version.name}/{version.version}"):
            return version
    return None


def _finished_model(client: "MlflowClient", experiment_id: str, subject: Subject) -> "LoggedModel | None":
    """The model of a complete run that has no version, because of a kill or because its version was deleted."""
    same = " and ".join(f"tags.{tag} = '{subject.tags[tag]}'" for tag in ("registration_key", "model_digest"))
    for run in client.search_runs([experiment_id], f"attributes.status = 'FINISHED' and {same}"):
        for model in _logged_models(client, experiment_id, run.info.run_id):
            if _has_files(model.model_uri):
                return model
    return None


def _has_files(model_uri: str) -> bool:
    import mlflow

    return any(file.path == "MLmodel" for file in mlflow.artifacts.list_artifacts(model_uri))


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
        "image_auroc_by_category": json.dumps(by_category, ensure_ascii=False),  # the gate outlives a deleted run
    }
    return client.create_model_version(name, model.model_uri, model.source_run_id, tags, model_id=model.model_id)


def _let_the_gate_decide(client: "MlflowClient", settings: Register, version: "ModelVersion") -> "ModelVersion":
    """Move the aliases and write the decision down; a kill in between is made good by the next call."""
    name, number = settings.model_name, str(version.version)
    client.set_registered_model_alias(name, CHALLENGER, number)
    champion = _aliases(client, name).get(CHAMPION)
    if champion == int(number):  # killed after the alias was moved; the reasons were written before that
        decision = gate.Decision(True, version.tags.get("gate_reasons", "it was champion already").split("\n"))
    else:
        best = None if champion is None else _scores(client.get_model_version(name, str(champion)).tags)
        decision = gate.decide(best, _scores(version.tags), settings.mean_tolerance, settings.category_tolerance)
        if champion is not None:
            client.set_model_version_tag(name, number, "gate_champion", str(champion))
    client.set_model_version_tag(name, number, "gate_reasons", "\n".join(decision.reasons))
    if decision.promoted:
        client.set_registered_model_alias(name, CHAMPION, number)
    client.set_model_version_tag(name, number, "gate_decision", "promoted" if decision.promoted else "kept")
    return client.get_model_version(name, number)


def _scores(tags: dict[str, Any]) -> gate.Scores:
    return gate.Scores(
        test_fingerprint=tags.get("test_fingerprint", "unknown"),
        mean=_number(tags.get("image_auroc")),
        categories=json.loads(tags.get("image_auroc_by_category", "{}")),
    )


def _versions(client: "MlflowClient", name: str) -> list["ModelVersion"]:
    """All versions, the newest first."""
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version), reverse=True)


def _aliases(client: "MlflowClient", name: str) -> dict[str, int]:
    """Which version each alias points at."""
    for model in client.search_registered_models(f"name = '{name}'"):
        return {alias: int(version) for alias, version in model.aliases.items()}
    return {}


def _aliases_of(aliases: dict[str, int], version: int) -> list[str]:
    return sorted(alias for alias, target in aliases.items() if target == version)
