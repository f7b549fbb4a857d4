"""A toy project whose stages have the names of the real ones, and a real Prefect server."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest

from flows.command import end_tree
from tests.ports import free_port

T = TypeVar("T")

STAGE = """
import json, os, subprocess, sys, time
from pathlib import Path

name = sys.argv[1]
with open("calls.txt", "a") as calls:
    calls.write(name + "\\n")
print("this is", name, "ü")
outputs = {
    "sample": "data/sample/part",
    "validate": "results/validate/report.json",
    "evaluate": "results/evaluate/metrics.json",
    "register": "mlflow/store/registered.json",
}
expectation = {"name": "decodable", "meaning": "the image can be read", "severity": "error", "unexpected": 0}
success = not Path("validate.error").exists()
contents = {
    "validate": {"expectations": [{**expectation, "success": success, "files": {}}]},
    "evaluate": {"mean": {"image_auroc": 0.98765}, "categories": {"gear": {"image_auroc": None}}},
    "register": {
        "name": "harmoniad", "version": 3, "aliases": ["champion"], "decision": "promoted", "reasons": ["it", "wins"]
    },
}
output = Path(outputs.get(name, f"results/{'-'.join(sys.argv[1:])}/part"))
output.parent.mkdir(parents=True, exist_ok=True)
output.write_text(json.dumps(contents.get(name, name)))
if name == "validate":
    Path("results/validate/data_docs").mkdir(exist_ok=True)
    Path("results/validate/data_docs/index.html").write_text("docs")
if name == "evaluate":
    Path("results/report").mkdir(exist_ok=True)
    Path("results/report/index.html").write_text("report")

trouble = {kind: Path(f"{name}.{kind}") for kind in ("error", "away", "crash", "slow")}
if trouble["error"].exists():
    print(f"error: data/mine: wrong input for {name}", file=sys.stderr)
    sys.exit(1)
if trouble["away"].exists():
    trouble["away"].unlink()
    print("error: the server does not answer", file=sys.stderr)
    sys.exit(75)
if trouble["crash"].exists():
    left = int(trouble["crash"].read_text()) - 1
    trouble["crash"].write_text(str(left)) if left else trouble["crash"].unlink()
    raise RuntimeError(f"out of luck in {name}")
if trouble["slow"].exists():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    Path("pids.tmp").write_text(f"{os.getpid()} {child.pid}")
    os.replace("pids.tmp", "pids.txt")
    time.sleep(300)
"""

PIPELINE = """
stages:
  sample:
    cmd: python stage.py sample
    outs:
    - data/sample
  prepare:
    foreach: ${data.sets}
    do:
      cmd: python stage.py prepare ${item}
      deps:
      - data/${item}
      outs:
      - results/prepare-${item}
  validate:
    cmd: python stage.py validate
    deps:
    - results/prepare-mine
    outs:
    - results/validate
  encode:
    cmd: python stage.py encode
    deps:
    - results/validate
    outs:
    - results/encode
  start:
    cmd: python -c "import os; os.makedirs('results/start/model')"
    deps:
    - results/encode
    outs:
    - results/start/model
  train:
    cmd: python stage.py train
    deps:
    - results/start/model
    - results/encode
    outs:
    - results/train
  evaluate:
    cmd: python stage.py evaluate
    deps:
    - results/train
    outs:
    - results/evaluate
  register:
    cmd: python stage.py register
    deps:
    - results/evaluate
    outs:
    - mlflow/store
"""


def run(*command: str, folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def toy_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    (folder / "stage.py").write_text(STAGE, encoding="utf-8")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text("data:\n  sets: [sample, mine]\n")
    (folder / "data/mine").mkdir(parents=True)
    (folder / "data/mine/1.png").write_text("one")
    (folder / "results/validate").mkdir(parents=True)  # so that `training` can run alone
    run("git", "init", "-q", folder=folder)
    run(sys.executable, "-m", "dvc", "init", "-q", folder=folder)
    run(sys.executable, "-m", "dvc", "add", "-q", "data/mine", folder=folder)
    return folder


@dataclass(frozen=True)
class Toy:
    folder: Path

    def calls(self) -> list[str]:
        """The stages that ran, in order."""
        path = self.folder / "calls.txt"
        return path.read_text().split() if path.exists() else []

    def trouble(self, stage: str, kind: str, times: int = 1) -> None:
        """Let a stage fail with an `error` line, miss its server once (`away`), `crash` so many times, or be `slow`."""
        (self.folder / f"{stage}.{kind}").write_text(str(times))

    def pids(self) -> list[int]:
        """The process of a slow stage and its child, once they have started."""
        path = self.folder / "pids.txt"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def alive(self) -> list[int]:
        """Which of them still run."""
        running = [psutil.Process(pid) for pid in self.pids() if psutil.pid_exists(pid)]
        return [process.pid for process in running if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def toy(toy_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A fresh copy of the toy project, which becomes the working directory."""
    folder = tmp_path / "with space ü"
    shutil.copytree(toy_template, folder)
    monkeypatch.chdir(folder)
    return Toy(folder)


def _wait_for(condition: Callable[[], T], seconds: float = 240) -> T:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.2)
    raise AssertionError(f"{condition} did not come true within {seconds} s")


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., object]:
    """A function that gives the first true value of a condition."""
    return _wait_for


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a `prefect server start` of its own."""
    home = tmp_path_factory.mktemp("prefect-home")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    arguments = f"server start --host 127.0.0.1 --port {port} --no-ui".split()
    log = home / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=home,
            env={
                **os.environ,
                "PREFECT_HOME": str(home),
                "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "3",  # 30 by default
                "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",  # 60 by default
            },
            stdout=output,
            stderr=output,
        )

    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}/health").is_success
        return False

    try:
        _wait_for(answers, 240)
        yield url
    finally:
        end_tree(server.pid)


@pytest.fixture
def server(server_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server as the configured one, in this process and its children."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv("PREFECT_API_URL", server_url)
    with temporary_settings({PREFECT_API_URL: server_url}):
        yield server_url
