# ruff: noqa: F811 - a fixture is imported and then asked for by its name
"""New images on their way through the flow, with the real commands."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prefect import flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from flows.ingestion import _end, take_in
from flows.retraining import retraining
from harmoniad.factory.drift import LOOK, NOTHING_NEW, RETRAIN
from harmoniad.factory.story import Story
from tests.factory.conftest import take_shot, trained, trained_template  # noqa: F401

pytestmark = pytest.mark.xdist_group("prefect")  # one server for all


def task_states(state: Any) -> dict[str, str]:
    with get_client(sync_client=True) as client:
        only_this = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        return {run.name: run.state_name for run in client.read_task_runs(flow_run_filter=only_this)}


def test_new_images_are_taken_in_and_committed_before_the_stages(toy: Any, server: str) -> None:
    run_git = ["git", "-c", "user.name=plant", "-c", "user.email=plant@example.com"]
    subprocess.run(["git", "config", "user.name", "plant"], check=True)
    subprocess.run(["git", "config", "user.email", "plant@example.com"], check=True)
    subprocess.run([*run_git, "add", "--all"], check=True)
    subprocess.run([*run_git, "commit", "-qm", "start"], check=True)
    (toy.folder / "params.yaml").write_text("data:\n  sets: [mine]\ningest:\n  quiet_seconds: 0\n")
    (toy.folder / "data/mine/dataset.json").write_text('{"layout": "folder"}')
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    inbox = toy.folder / "data/inbox/mine/gear ü/good/7.png"
    inbox.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(inbox)
    state = retraining(return_state=True)
    assert state.is_completed()
    states = task_states(state)
    assert (states["ingest"], states["drift"], states["version"]) == ("Completed", "Completed", "Completed")
    assert toy.calls() == ["prepare", "validate", "encode", "train", "evaluate", "register"]
    (taken,) = (toy.folder / "data/mine/gear ü/good_train").iterdir()
    assert taken.name.startswith("7-")
    assert not inbox.exists()
    log = subprocess.run(["git", "log", "-2", "--format=%s"], check=True, capture_output=True, text=True)
    assert log.stdout.splitlines() == [
        "model: harmoniad version 3 is the champion",
        "data: mine: 1 new good images",
    ]
    found = Artifact.get("drift-decision")
    assert found is not None
    assert "No comparison: there is no champion yet" in str(found.data)

    (toy.folder / "results/prepare").mkdir()
    lines = ["path", "data/mine/1.png", taken.relative_to(toy.folder).as_posix()]
    (toy.folder / "results/prepare/mine.csv").write_text("\n".join(lines), encoding="utf-8")  # as the real stage does
    state = flow(lambda: take_in(Story()), name="take in")(return_state=True)
    assert task_states(state) == {"ingest": "Unchanged", "drift": "Unchanged", "version": "Unchanged"}


@pytest.mark.parametrize(
    ("decision", "stops", "name"),
    [(NOTHING_NEW, True, "Waiting"), (RETRAIN, True, None), (LOOK, True, "Drift")],
)
def test_what_ends_a_retraining(decision: str, stops: bool, name: str | None) -> None:
    state = _end({"decision": decision, "reasons": ["why"]}, stops)
    assert (state and state.name) == name


def test_drift_ends_the_retraining_before_the_stages(
    trained: Path,
    server: str,
    take_shot: Callable[..., Path],
) -> None:
    for seed in range(300, 310):
        take_shot(Path(f"data/inbox/plant/bolt/good/{seed}.png"), seed, "bolt", light=0.8)
    state = retraining(return_state=True)
    assert state.name == "Drift"
    assert state.is_completed()
    assert "drift: a person should look: the " in state.message
    assert set(task_states(state)) == {"ingest", "drift", "version", "notify"}
    assert json.loads(Path("results/ingest/report.json").read_text(encoding="utf-8"))["taken"][0]["category"] == "bolt"
    assert len(list(Path("data/plant/bolt/train/good").iterdir())) == 30
