"""What `prefect.yaml` and the server make of the flows, with the real commands."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun

pytestmark = pytest.mark.xdist_group("prefect")  # one server for all

REPOSITORY = Path(__file__).parents[2]


def prefect(*arguments: str) -> str:
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scheduled_runs(deployment: UUID) -> list[FlowRun]:
    """Those that are still to come; another test may have had the same deployment before."""
    with get_client(sync_client=True) as client:
        runs = [run for run in client.read_flow_runs() if run.deployment_id == deployment and run.auto_scheduled]
    return [run for run in runs if run.expected_start_time > datetime.now(UTC)]


def log(flow_runs: list[UUID]) -> list[str]:
    with get_client(sync_client=True) as client:
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=flow_runs)), limit=200)
    return [line.message for line in logs]


def artifact(key: str) -> Any:
    found = Artifact.get(key)
    assert found is not None
    return found.data


@pytest.mark.timeout(900)  # on a busy machine; a minute is usual
def test_the_deployment_is_scheduled_and_runs_on_a_worker(toy: Any, server: str, wait_for: Callable[..., Any]) -> None:
    shutil.copy(REPOSITORY / "prefect.yaml", toy.folder)
    shutil.copytree(REPOSITORY / "flows", toy.folder / "flows")
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="factory", type="process"))

        prefect("deploy", "--all")
        deployment = client.read_deployment_by_name("retraining/factory")
        assert deployment.global_concurrency_limit is not None
        assert deployment.global_concurrency_limit.limit == 1

        # Some sets of packages that pip accepts never schedule anything, without a word.
        night = wait_for(lambda: scheduled_runs(deployment.id), 90)[0].expected_start_time
        assert night.astimezone(ZoneInfo("Europe/Berlin")).strftime("%H:%M") == "02:00"

        run = client.create_flow_run_from_deployment(deployment.id)
        prefect("worker", "start", "--pool", "factory", "--run-once")
        run = client.read_flow_run(run.id)
        assert run.state_name == "Completed", log([run.id])
        subflows = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": [run.id]}})
        )
        flow_runs = [run.id, *(subflow.id for subflow in subflows)]
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=flow_runs)))

    assert toy.calls() == ["sample", "prepare", "prepare", "validate", "encode", "train", "evaluate", "register"]
    assert [task.name for task in sorted(tasks, key=lambda task: task.start_time)] == [
        *("ingest", "drift", "version"),
        *("validation-0", "sample", "data", "prepare", "validate"),
        *("training-0", "encode", "train"),
        *("evaluation-0", "evaluate"),
        *("registration-0", "register"),
        *("results", "notify"),
    ]
    assert {"this is sample ü", "this is train ü", "this is register ü"} <= set(log(flow_runs))

    assert json.loads(artifact("expectations")) == [
        {
            "name": "decodable",
            "meaning": "the image can be read",
            "severity": "error",
            "success": True,
            "unexpected": 0,
        }
    ]
    assert json.loads(artifact("metrics")) == [
        {"category": "gear", "image_auroc": None},
        {"category": "mean", "image_auroc": 0.9877},
    ]
    assert json.loads(artifact("registered-model")) == [
        {
            "model": "harmoniad",
            "version": 3,
            "aliases": "champion",
            "decision": "promoted",
            "reasons": "it; wins",
        }
    ]
    assert "with%20space%20%C3%BC/results/validate/data_docs/index.html" in artifact("data-docs")
    assert "with%20space%20%C3%BC/results/report/index.html" in artifact("evaluation-report")
    assert "mlflow ui" in artifact("mlflow")
