"""The loop on a real server with real processes: schedules, triggers, queues, kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.command import end_tree
from flows.retraining import alone
from flows.serving import announce
from harmoniad.cli import cli
from harmoniad.errors import HarmoniadError
from harmoniad.factory.watch import InboxWatch

pytestmark = [
    pytest.mark.xdist_group("prefect"),  # one server for all
    pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot ask a process to terminate"),
    pytest.mark.timeout(900),  # on a busy machine
]

REPOSITORY = Path(__file__).parents[2]
STAGES = ["sample", "prepare", "prepare", "validate", "encode", "train", "evaluate", "register"]


@contextmanager
def running(*command: str, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command of the environment's in the background; its output goes to log.txt."""
    with Path("log.txt").open("a", encoding="utf-8") as log:
        environment = {**env, "PREFECT_WORKER_QUERY_SECONDS": "1"}
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=log, stderr=log, text=True, env=environment)
        try:
            yield process
        finally:
            end_tree(process.pid)


def runs_of(deployment: str) -> list[FlowRun]:
    """The runs that were started, the first one first."""
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"deployment_id": {"any_": [found.id]}})
        )
    return sorted((run for run in runs if run.start_time), key=lambda run: run.start_time)


def test_a_schedule_fires_an_event_triggers_and_the_second_run_waits(
    toy: Any, server: str, wait_for: Callable[..., Any]
) -> None:
    name = "retraining/factory"
    text = (REPOSITORY / "prefect.yaml").read_text(encoding="utf-8")
    (toy.folder / "prefect.yaml").write_text(text.replace("name: factory  ", "name: loop  "), encoding="utf-8")
    shutil.copytree(REPOSITORY / "flows", toy.folder / "flows")
    toy.trouble("train", "slow")
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="loop", type="process"))
        subprocess.run([sys.executable, "-m", "prefect", "deploy", "--all"], check=True, capture_output=True)
        deployment = client.read_deployment_by_name(name)
        seen = {run.id for run in runs_of(name)}
        for schedule in deployment.schedules:
            client.delete_deployment_schedule(deployment.id, schedule.id)
        # The server looks for new schedules every few seconds, and makes no run whose time has passed by then.
        soon = IntervalSchedule(interval=timedelta(days=1), anchor_date=datetime.now(UTC) + timedelta(seconds=20))
        client.create_deployment_schedules(deployment.id, [(soon, True)])
        with running("prefect", "worker", "start", "--pool", "loop", env=os.environ) as worker:
            wait_for(toy.pids, 240)  # the schedule's run is training
            announced = subprocess.run(
                [sys.executable, "-m", "harmoniad", "announce"], check=True, capture_output=True, text=True
            )
            assert "harmoniad.images.arrived" in announced.stdout

            def waits() -> list[FlowRun]:
                everything = client.read_flow_runs()
                return [
                    run
                    for run in everything
                    if run.deployment_id == deployment.id and run.state_name == "AwaitingConcurrencySlot"
                ]

            (second,) = wait_for(waits, 120)
            (first,) = [run for run in runs_of(name) if run.id not in seen]
            assert first.state_name == "Running"
            assert first.auto_scheduled
            assert not second.auto_scheduled
            assert toy.calls()[-1] == "train"

            # kill -9 in the middle of a stage: the run that waited goes on with that stage.
            (toy.folder / "train.slow").unlink()
            (flow,) = [process for process in psutil.Process(toy.pids()[0]).parents() if process.ppid() == worker.pid]
            for process in [flow, *flow.children(recursive=True)]:
                process.kill()
            wait_for(lambda: client.read_flow_run(second.id).state_name == "Completed", 240)
            assert client.read_flow_run(first.id).state_name == "Crashed"
    assert toy.calls() == [*STAGES[:6], *STAGES[5:]]


def test_a_cron_schedule_fires_by_itself(toy: Any, wait_for: Callable[..., Any]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS"] = "5"  # 60 by default
    with running("harmoniad", "serve", "--cron", "* * * * *", "--timezone", "UTC", env=environment) as process:
        wait_for(lambda: "register" in toy.calls(), 400)
        url = json.loads((toy.folder / ".harmoniad/prefect/server.json").read_text())["url"]
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name("retraining/with space ü")

            def finished() -> list[FlowRun]:
                runs = [run for run in client.read_flow_runs() if run.deployment_id == deployment.id]
                return [run for run in runs if run.state_name == "Completed"]

            (run, *_) = wait_for(finished, 120)
        assert run.auto_scheduled
        assert run.expected_start_time.second == 0
        assert abs(run.start_time - run.expected_start_time) < timedelta(minutes=1)
        assert [schedule.schedule.timezone for schedule in deployment.schedules] == ["UTC"]
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        assert process.returncode == 0, Path("log.txt").read_text(encoding="utf-8")
    assert toy.calls()[: len(STAGES)] == STAGES
    assert "Traceback" not in Path("log.txt").read_text(encoding="utf-8")


def test_new_images_start_a_retraining_that_ends_with_its_server(toy: Any, wait_for: Callable[..., Any]) -> None:
    (toy.folder / "params.yaml").write_text("data:\n  sets: [mine]\ningest:\n  quiet_seconds: 0\n")
    (toy.folder / "data/mine/dataset.json").write_text('{"layout": "folder"}')
    toy.trouble("prepare", "slow")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with running("harmoniad", "serve", "--watch", "--quiet-minutes", "0", env=environment) as process:
        wait_for(lambda: "Prefect's pages" in Path("log.txt").read_text(encoding="utf-8"), 240)
        assert not toy.calls()
        image = toy.folder / "data/inbox/mine/gear/good/7.png"
        image.parent.mkdir(parents=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)).save(image)
        wait_for(toy.pids, 240)
        assert not image.exists()
        server = json.loads((toy.folder / ".harmoniad/prefect/server.json").read_text())["pid"]
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        assert process.returncode == 0, Path("log.txt").read_text(encoding="utf-8")
    assert not toy.alive()
    assert not psutil.pid_exists(server)
    shown = Path("log.txt").read_text(encoding="utf-8")
    assert "1 new files in the inbox" in shown
    assert "Traceback" not in shown
    with alone():
        pass  # nothing holds it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cron", "61 2 * * *"], 'Invalid cron string: "61 2 * * *".'),
        (["--cron", "0 2 * * *", "--timezone", "Mars/Crater"], 'Invalid timezone: "Mars/Crater"'),
        ([], "say when"),
        (["--watch", "--timezone", "UTC"], "--timezone belongs to --cron"),
    ],
)
def test_a_wrong_schedule_is_told(toy: Any, arguments: list[str], message: str) -> None:
    with pytest.raises(HarmoniadError) as error:
        cli(["serve", *arguments], standalone_mode=False)
    assert str(error.value).startswith(message)


def test_without_a_server_nobody_can_be_told_of_images(toy: Any) -> None:
    with pytest.raises(HarmoniadError, match="PREFECT_API_URL is not set"):
        announce()


def test_the_watch_tells_of_a_delivery_once_when_it_is_complete(toy: Any) -> None:
    now = [0.0]
    inbox = Path("data/inbox/mine/gear/good")
    inbox.mkdir(parents=True)
    watch = InboxWatch(60, lambda: now[0])

    def look(seconds: float) -> int:
        now[0] = seconds
        return watch.look()

    assert look(100) == 0  # an empty inbox
    (inbox / "1.png").write_text("1")
    assert [look(110), look(160)] == [0, 0]
    (inbox / "2.png").write_text("2")  # rsync is not done
    assert [look(165), look(224), look(226)] == [0, 0, 2]
    (inbox / "1.png").unlink()  # taken; the other one is left
    assert [look(300), look(900)] == [0, 0]
    (inbox / "3.png").write_text("3")
    assert [look(901), look(962)] == [0, 1]
    watch.forget()  # Prefect was not reached
    assert look(963) == 2
