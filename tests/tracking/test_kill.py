"""`kill -9` at any moment of a registration, then the same command again."""

import contextlib
import functools
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harmoniad.stages.register import REGISTERED_FILE, run
from harmoniad.tracking import store
from harmoniad.tracking.versions import list_versions

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no kill -9 on Windows")

# The calls that change the store, in the order in which a registration makes them.
CALLS = [
    ("create_run", 1),
    ("log_model_artifacts", 1),
    ("log_artifact", 1),
    ("set_terminated", 1),
    ("create_model_version", 1),
    ("set_registered_model_alias", 1),
    ("set_model_version_tag", 1),
    ("set_model_version_tag", 2),
    ("log_text", 1),
    ("set_tag", 3),
    ("log_artifact", 7),
    ("set_model_version_tag", 4),
    ("set_registered_model_tag", 1),
    ("set_registered_model_alias", 2),
    ("set_model_version_tag", 5),
]


def check_that_one_version_is_visible(project: Any) -> None:
    (row,) = list_versions(project.params)
    assert (row.version, row.aliases, row.decision) == (1, ["challenger", "champion"], "promoted")
    with store.connect() as client:
        experiment_id = client.get_experiment_by_name("harmoniad").experiment_id
        (visible,) = client.search_runs([experiment_id])
        (model,) = client.search_logged_models([experiment_id])
        assert client.get_model_version("harmoniad", "1").tags["gate_reasons"].startswith("there was no champion")
        assert client.get_registered_model("harmoniad").tags["champion_history"] == "[1]"
    assert "Version 1 becomes the champion" in Path("results/report/index.html").read_text()
    assert visible.info.status == "FINISHED"
    assert model.source_run_id == visible.info.run_id
    assert '"version": 1' in REGISTERED_FILE.read_text()


def register_and_die(project: Any, call: str, times: int) -> None:
    """Register for real, but be killed right after the given call has been made for so many times."""
    from mlflow import MlflowClient

    original, made = getattr(MlflowClient, call), []

    @functools.wraps(original)
    def last_act(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        made.append(call)
        if len(made) == times:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(MlflowClient, call, last_act)
    run(project.params)


@pytest.mark.parametrize(("call", "times"), CALLS)
def test_kill_after_each_step(project: Any, call: str, times: int) -> None:
    process = multiprocessing.get_context("fork").Process(target=register_and_die, args=(project, call, times))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    run(project.params)
    check_that_one_version_is_visible(project)


def test_kill_from_outside_as_soon_as_the_run_appears(project: Any) -> None:
    code = "from harmoniad.params import load_params; from harmoniad.stages.register import run; run(load_params())"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not runs_in(store.DATABASE):
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    run(project.params)
    check_that_one_version_is_visible(project)


def runs_in(database: Path) -> int:
    connection = sqlite3.connect(database)
    try:
        return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
    finally:
        connection.close()


def test_kill_while_the_store_is_made(project: Any) -> None:
    store.DATABASE.unlink()
    code = "from harmoniad.tracking import store; store.connect().__enter__()"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not half_migrated():
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not store.DATABASE.exists()
    run(project.params)
    check_that_one_version_is_visible(project)


def half_migrated() -> bool:
    """Whether the database in the making holds something already."""
    with contextlib.suppress(FileNotFoundError):  # it got its name meanwhile
        return any(path.stat().st_size > 0 for path in store.STORE_DIR.glob(".mlflow.db.*.tmp"))
    return False
