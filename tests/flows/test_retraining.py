import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import ParameterTypeError
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.registration import registration
from flows.retraining import alone, retrain, retraining
from flows.stages import StageCrashedError, failure, run_stage
from flows.training import training
from flows.validation import validation
from harmoniad.errors import HarmoniadError

pytestmark = pytest.mark.xdist_group("prefect")  # one server for all


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_stage, "retry_delay_seconds", 0)


def artifact(key: str) -> Any:
    found = Artifact.get(key)
    assert found is not None
    return found.data


def test_stages_that_nothing_changed_for_are_skipped(toy: Any, server: str) -> None:
    training()
    state = training(return_state=True)
    assert toy.calls() == ["encode", "train"]
    with get_client(sync_client=True) as client:
        only_this = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        runs = client.read_task_runs(flow_run_filter=only_this)
    assert {run.name: run.state_name for run in runs} == {"encode": "Unchanged", "train": "Unchanged"}


def test_registration_runs_although_nothing_changed(toy: Any, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (toy.folder / "results/evaluate").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://somebody:secret@mlflow.example/plant")
    registration()
    registration()
    assert toy.calls() == ["register", "register"]
    assert artifact("mlflow") == "[MLflow](https://mlflow.example/plant)"


def test_a_grown_data_set_is_tracked_anew_and_sample_is_left_out(toy: Any, server: str) -> None:
    (toy.folder / "params.yaml").write_text("data:\n  sets: [mine]\n")
    (toy.folder / "data/mine/2.png").write_text("two")
    validation()
    assert toy.calls() == ["prepare", "validate"]
    assert "nfiles: 2" in (toy.folder / "data/mine.dvc").read_text(encoding="utf-8")
    status = [sys.executable, "-m", "dvc", "status", "data/mine.dvc"]
    assert "up to date" in subprocess.run(status, check=True, capture_output=True, text=True).stdout


def test_a_crash_is_tried_again(toy: Any, server: str) -> None:
    toy.trouble("train", "crash", times=1)
    training()
    assert toy.calls() == ["encode", "train", "train"]


def test_a_stage_that_keeps_crashing_fails_with_its_last_words(toy: Any, server: str) -> None:
    toy.trouble("train", "crash", times=99)
    with pytest.raises(StageCrashedError, match="the stage `train` crashed: RuntimeError: out of luck in train"):
        training()
    assert toy.calls() == ["encode", "train", "train", "train"]


def test_a_server_that_was_away_is_tried_again(toy: Any, server: str) -> None:
    toy.trouble("train", "away")
    training()
    assert toy.calls() == ["encode", "train", "train"]


def test_bad_input_is_told_and_not_tried_again(toy: Any, server: str) -> None:
    toy.trouble("validate", "error")
    with pytest.raises(HarmoniadError) as error:
        validation()
    assert str(error.value) == "data/mine: wrong input for validate"
    assert toy.calls() == ["sample", "prepare", "prepare", "validate"]
    assert not json.loads(artifact("expectations"))[0]["success"]  # the table shows what failed


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the stage `train` crashed: `dvc repro train` exited with -9"),
        (["step 3"], "the stage `train` crashed: step 3 | `dvc repro train` exited with -9"),
        (["ERROR: Unable to acquire lock."], "the stage `train` crashed: Unable to acquire lock."),
    ],
)
def test_a_kill_and_a_busy_repository_are_worth_another_try(lines: list[str], message: str) -> None:
    error = failure("train", ["dvc", "repro", "train"], -9, lines)
    assert isinstance(error, StageCrashedError)
    assert str(error) == message


def test_what_dvc_says_is_told_and_not_tried_again(toy: Any, server: str) -> None:
    (toy.folder / "params.yaml").write_text("data:\n  sets: [mine]\n")
    (toy.folder / "data/mine/1.png").unlink()
    (toy.folder / "data/mine").rmdir()
    with pytest.raises(HarmoniadError, match=r"data/mine\.dvc.*missing data 'source': data.mine"):
        validation()
    assert toy.calls() == []


def test_a_stage_that_takes_too_long_is_ended(toy: Any, server: str) -> None:
    toy.trouble("encode", "slow")
    with pytest.raises(TimeoutError, match=r"the stage `encode` ran longer than its limit of 0\.25 minutes"):
        training(limits={"encode": 0.25})
    assert toy.calls() == ["encode"]
    assert toy.pids()
    assert not toy.alive()


def test_an_unknown_stage_in_the_limits_is_named(toy: Any, server: str) -> None:
    with pytest.raises(ParameterTypeError, match="trian"):
        training(limits={"trian": 1})  # type: ignore[dict-item]


def test_only_one_retraining_runs(toy: Any, server: str) -> None:
    hold = "from flows.retraining import alone\nwith alone():\n    print('held', flush=True)\n    input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told = rf"another retraining is running \(process {holder.pid}, since 2\d\d\d-"
        with pytest.raises(HarmoniadError, match=told):
            retraining()
        with pytest.raises(HarmoniadError, match=told):
            retrain()
        holder.kill()
    assert toy.calls() == []
    with alone():
        pass  # the lock died with its process


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot ask a process to terminate")
def test_a_terminated_retraining_takes_its_stage_along(toy: Any, server: str, wait_for: Callable[..., Any]) -> None:
    toy.trouble("sample", "slow")
    command = [sys.executable, "-c", "from flows.retraining import retrain; retrain()"]
    flow = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(toy.pids)
        flow.send_signal(signal.SIGTERM)
        flow.wait(60)
    finally:
        flow.kill()
    assert flow.returncode != 0
    assert not toy.alive()
    with alone():
        pass


def test_a_server_that_does_not_answer_is_told(toy: Any) -> None:
    url = "http://127.0.0.1:9/api"
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(HarmoniadError) as error:
        retrain()
    assert str(error.value).startswith(f"no Prefect server answers at {url} (")
    assert toy.calls() == []


RETRAIN_TWICE = """
from pathlib import Path
from flows.retraining import retrain
from harmoniad.errors import HarmoniadError

try:
    retrain()
except HarmoniadError as error:
    print(f"error: {error}")
Path("sample.error").rename("sample.slow")
try:
    retrain()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups to interrupt")
def test_without_a_server_a_temporary_one_is_used(toy: Any, wait_for: Callable[..., Any]) -> None:
    toy.trouble("sample", "error")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with (toy.folder / "log.txt").open("w") as log:
        flow = subprocess.Popen(
            [sys.executable, "-c", RETRAIN_TWICE],
            env={**environment, "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            start_new_session=True,
        )
    try:
        wait_for(toy.pids, 200)
        shown = (toy.folder / "log.txt").read_text(encoding="utf-8")
        start = time.monotonic()
        os.killpg(flow.pid, signal.SIGINT)  # as Ctrl-C in a terminal does, to all its processes
        output, _ = flow.communicate(timeout=200)
    finally:
        flow.kill()
    assert output == "error: data/mine: wrong input for sample\ninterrupted\n"
    assert time.monotonic() - start < 60  # the temporary server has outlived the flow; without it, it takes minutes
    assert not toy.alive()
    assert "Starting temporary server" in shown
    assert "Task run 'sample' - this is sample ü" in shown
    assert "Finished in state Failed" in shown
    assert "Traceback" not in shown
    assert "Warning" not in shown
    assert (toy.folder / ".harmoniad/prefect/prefect.db").exists()
