"""What stands around the stages: new images are taken in, compared and committed before them, results after them."""

from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.stages import LIMITS, Limits, StageName, run_stage
from harmoniad.factory import results_version, versioning
from harmoniad.factory.drift import FOLDER, LOOK, NOTHING_NEW
from harmoniad.factory.drift_files import DECISION
from harmoniad.factory.inbox import is_empty
from harmoniad.factory.news import news_of
from harmoniad.factory.story import Story
from harmoniad.files import read_json
from harmoniad.params import load_params
from harmoniad.tracking.provenance import NONE, git_commit

DRIFT = FOLDER / DECISION
INGESTED = Path("results/ingest/report.json")


def take_in(story: Story, limits: Limits | None = None) -> State | None:
    """Take new images in, compare them with what the champion knows, and make them a version.

    Args:
        story: Learns what happened.
        limits: After how many minutes a task is ended.

    Returns:
        The state in which the retraining ends before its stages, such as for a person to look; None if it goes on.

    Raises:
        HarmoniadError: One of the commands said what is wrong.
    """
    params = load_params()
    if is_empty():
        skip("ingest", "the inbox is empty")
    else:
        _run("ingest", limits)
        story.ingested = read_json(INGESTED)
        _publish_ingested(story.ingested)
    if news_of(params.data.sets):
        _run("drift", limits)
        story.drift = read_json(DRIFT)
        _publish_drift(story.drift)
    else:
        skip("drift", "nothing new")
    if versioning.is_needed(params):
        story.warnings += _warnings(_run("version", limits))
    else:
        skip("version", "nothing new")
    return _end(story.drift, params.drift.stops) if story.drift is not None else None


def keep_results(story: Story, limits: Limits | None = None) -> None:
    """Commit what the stages gave, whatever the gate decided, and push it.

    Args:
        story: Learns what could not be done.
        limits: After how many minutes the task is ended.
    """
    if results_version.is_needed():
        story.warnings += _warnings(_run("results", limits, ["version", "--results"]))
    else:
        skip("results", "nothing new")
    story.commit = git_commit().removesuffix(NONE)


def _warnings(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("warning: ")]


def _end(found: dict[str, Any], stops: bool) -> State | None:
    """The state in which the retraining ends before its stages; None if it goes on."""
    reasons = "; ".join(found["reasons"])
    if found["decision"] == NOTHING_NEW:  # too few for a retraining: they wait for more
        return Completed(name="Waiting", message=f"{NOTHING_NEW}: {reasons}")
    if found["decision"] != LOOK:
        return None
    if stops:
        advice = "If all is well: `harmoniad drift --accept`, then `harmoniad retrain`."
        return Completed(name="Drift", message=f"{LOOK}: {reasons}. {advice}")
    get_run_logger().warning("%s: %s. The retraining goes on (drift.stops: false).", LOOK, reasons)
    return None


@task(name="stage", task_run_name="{stage}", cache_policy=NO_CACHE)
def skip(stage: StageName, why: str) -> State:
    """Stand for a command that has nothing to do."""
    return Completed(name="Unchanged", message=f"{stage}: {why}")


def _run(stage: StageName, limits: Limits | None, command: list[str] | None = None) -> list[str]:
    lines = run_stage(stage, ["harmoniad", *(command or [stage])], (limits or {}).get(stage, LIMITS[stage]))
    return lines if isinstance(lines, list) else []


def _publish_ingested(report: dict[str, Any]) -> None:
    rows = [
        {"image": image["image"], "category": image["category"], "kind": image["defect"], "went to": image["split"]}
        for image in report["taken"]
    ]
    rows += [
        {"image": image, "category": "", "kind": "", "went to": f"quarantine: {'; '.join(reasons)}"}
        for image, reasons in report["quarantined"].items()
    ]
    if rows:
        create_table_artifact(rows, key="new-images", description="What came in, and where it went")


def _publish_drift(found: dict[str, Any]) -> None:
    if found["categories"]:
        create_table_artifact(found["categories"], key="drift", description="New good images against the reference")
    reasons = "\n".join(f"- {reason}" for reason in found["reasons"])
    why = f"\n\nNo comparison: {found['skipped']}" if found["skipped"] else ""
    create_markdown_artifact(f"**{found['decision']}**\n\n{reasons}{why}", key="drift-decision")
