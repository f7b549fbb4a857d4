"""Bringing champion and challenger before the gate, and writing down what it decided."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harmoniad.params import Params
from harmoniad.report.decision import write_report_with
from harmoniad.tracking import evidence, gate, model_files, promotion, scorecard
from harmoniad.tracking.gate import Check, Decision
from harmoniad.tracking.model_files import UnusableModelError
from harmoniad.tracking.results import EVALUATION_REPORT, REPORT_FILE
from harmoniad.tracking.scorecard import CurrentImages, Scorecard
from harmoniad.tracking.versions import CHAMPION, aliases_of_model, number

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

TABLE = "gate.json"  # among the run's artifacts; MLflow's pages show it as a table
MAX_RUN_TAG, MAX_VERSION_TAG = 5_000, 90_000  # characters


def judge(client: "MlflowClient", params: Params, version: "ModelVersion", images: CurrentImages) -> "ModelVersion":
    """Let the gate decide and move the alias; a kill in between is made good by the next call.

    The champion may be re-scored for minutes, so others may move the alias meanwhile. Then the decision is worth
    nothing and is made anew, against the new champion.

    Args:
        client: Of MLflow.
        params: With the gate's rules.
        version: The challenger.
        images: The current images.

    Raises:
        HarmoniadError: The champion cannot be re-scored for a reason that the user can mend.
    """
    name, own = version.name, str(version.version)
    card = card_of(version, images, params)
    while True:
        champion = aliases_of_model(client, name).get(CHAMPION)
        decision = _decide(client, params, version, card, images, champion)
        _record(client, version, decision, champion)
        with promotion.claim(client, name):
            if aliases_of_model(client, name).get(CHAMPION) != champion:
                continue
            if decision.promoted:
                promotion.move(client, name, int(own), "gate")
            client.set_model_version_tag(name, own, "gate_decision", "promoted" if decision.promoted else "kept")
            return client.get_model_version(name, own)


def recorded(version: "ModelVersion") -> Decision:
    """The decision that stands in the tags of a version."""
    reasons = version.tags.get("gate_reasons", "it was champion already").split("\n")
    checks = [Check(**check) for check in json.loads(version.tags.get("gate_table", "[]"))]
    return Decision(version.tags.get("gate_decision", "promoted") == "promoted", reasons, checks)


def card_of(version: "ModelVersion", images: CurrentImages, params: Params) -> Scorecard:
    """What a registered version says of the current images; re-scored unless it was before.

    Raises:
        UnusableModelError: Its files are missing or damaged.
        HarmoniadError: The weights of its encoder are missing, or the disk is full.
    """
    digest, latency = version.tags.get("model_digest", ""), number(version.tags.get("latency_ms"))
    card = scorecard.kept(digest, images, latency) if digest else None
    if card is None:
        card = scorecard.measure(model_files.load(version, params), images, params, latency)
        scorecard.keep(digest, images, card)
    return card


def _decide(
    client: "MlflowClient",
    params: Params,
    version: "ModelVersion",
    card: Scorecard,
    images: CurrentImages,
    champion: int | None,
) -> Decision:
    rate = params.evaluate.false_positive_rate
    if champion == int(version.version):  # killed after the alias was moved; the reasons were written before that
        return recorded(version)
    if champion is None:
        return gate.decide(None, evidence.figures(card, set(card.trained_on), rate), None, params.gate, rate)
    present = client.get_model_version(version.name, str(champion))
    is_same = present.tags.get("model_digest") == version.tags["model_digest"]
    if is_same and not model_files.has_files(f"models:/{version.name}/{champion}"):
        return Decision(True, [f"the champion, version {champion}, is the same model, but its files are gone"])
    try:
        best = card_of(present, images, params)
    except UnusableModelError as error:
        return Decision(
            False,
            [
                f"the champion cannot be measured on the current images: {error} "
                "`harmoniad promote VERSION` decides by hand."
            ],
        )
    compared = evidence.shared_categories(best, card)
    return gate.decide(
        evidence.figures(best, compared, rate),
        evidence.figures(card, compared, rate),
        evidence.difference(best, card, params.gate),
        params.gate,
        rate,
    )


def _record(client: "MlflowClient", version: "ModelVersion", decision: Decision, champion: int | None) -> None:
    """Write the decision to the version's tags, to the run as a table and into the report, before it takes effect."""
    name, own, run_id = version.name, str(version.version), str(version.run_id)
    checks = [asdict(check) for check in decision.checks]
    if champion is not None and champion != int(own):
        client.set_model_version_tag(name, own, "gate_champion", str(champion))
    client.set_model_version_tag(name, own, "gate_table", _as_tag(checks))
    client.set_model_version_tag(name, own, "gate_reasons", "\n".join(decision.reasons)[:MAX_VERSION_TAG])
    columns = list(Check.__dataclass_fields__)
    table = {"columns": columns, "data": [[check[column] for column in columns] for check in checks]}
    client.log_text(run_id, json.dumps(table, ensure_ascii=False), TABLE)
    client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": TABLE, "type": "table"}]))
    client.set_tag(run_id, "gate_decision", "promoted" if decision.promoted else "kept")
    client.set_tag(run_id, "gate_reasons", "\n".join(decision.reasons)[:MAX_RUN_TAG])
    if write_report(client.get_model_version(name, own), decision):
        client.log_artifact(run_id, str(REPORT_FILE), REPORT_FILE.parent.name)


def write_report(version: "ModelVersion", decision: Decision | None = None) -> bool:
    """Write the decision, or the one in the version's tags, into the report; False if there is no report."""
    if not EVALUATION_REPORT.is_file():
        return False
    champion = version.tags.get("gate_champion")
    write_report_with(
        decision or recorded(version), str(version.version), champion, source=EVALUATION_REPORT, target=REPORT_FILE
    )
    return True


def _as_tag(checks: list[dict[str, Any]]) -> str:
    """As many lines of the table as a tag takes: with some hundred categories all of them."""
    while len(text := json.dumps(checks, ensure_ascii=False)) > MAX_VERSION_TAG:
        checks = checks[: len(checks) // 2]
    return text
