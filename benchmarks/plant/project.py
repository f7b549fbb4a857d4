"""A project of its own for a play: the repository's tracked files, with git, DVC, a DVC remote and a Prefect server."""

import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import yaml

from benchmarks import common
from benchmarks.plant.timing import Seconds, read_clock
from flows.command import end_tree
from harmoniad.errors import HarmoniadError

REPOSITORY = Path(__file__).resolve().parents[2]
CLOCK = Path(__file__).parent / "clock"
PARTS = ("harmoniad", "flows", "dvc.yaml", "params.yaml", ".dvc", ".dvcignore", ".gitignore", "data/.gitignore")
SECONDS_TO_START = 240


@dataclass(frozen=True)
class Ran:
    """What a command left.

    Attributes:
        code: Its exit code; negative for the signal that ended it.
        output: Both streams.
        seconds: Where its wall time went, and its processor time.
    """

    code: int
    output: str
    seconds: Seconds

    def said(self) -> str:
        """The last line that says what is wrong."""
        lines = [line for line in self.output.splitlines() if line.startswith("error: ")]
        return lines[-1] if lines else ""


class Project:
    """A project in a folder.

    Args:
        folder: Where it is or will be.
        server: The API of the Prefect server that its flows report to; a temporary one a run if empty.
    """

    def __init__(self, folder: Path, server: str = "") -> None:
        self.folder, self.server = folder.resolve(), server
        self._clock = self.folder.with_name(f"{folder.name}.clock")
        self._log = self.folder.with_name(f"{folder.name}.log")

    def create(self, params: Mapping[str, Any], remote: Path | None = None) -> None:
        """Copy the tracked files, and make them a repository with other params and a DVC remote."""
        files = subprocess.run(["git", "ls-files", "--", *PARTS], cwd=REPOSITORY, check=True, capture_output=True)
        for name in files.stdout.decode().split():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, self.folder / name)
        base = common.read_yaml(REPOSITORY / "params.yaml")
        text = yaml.safe_dump(common.merged(base, params), sort_keys=False)
        (self.folder / "params.yaml").write_text(text, encoding="utf-8")
        self.git("init", "--quiet")
        self.git("config", "user.name", "plant")
        self.git("config", "user.email", "plant@example.com")
        if remote is not None:
            # Relative, since DVC writes its config in ASCII, whatever the folder is called.
            self.run("dvc", "remote", "add", "--default", "plant", os.path.relpath(remote, self.folder))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "start")

    def git(self, *arguments: str) -> str:
        """Run git, and give what it says."""
        done = subprocess.run(["git", *arguments], cwd=self.folder, check=False, capture_output=True, text=True)
        if done.returncode:
            raise HarmoniadError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def run(self, *command: str, check: bool = True, **variables: str) -> Ran:
        """Run a command of the environment's and wait for it."""
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
        process = self.start(*command, **variables)
        try:
            output, _ = process.communicate()
        finally:  # also when the play is interrupted
            end_tree(process.pid)
        return self.finished(process.returncode, output, start, before, check=check, command=command)

    @property
    def stops_at_drift(self) -> bool:
        """Whether a retraining waits for a person where it finds drift."""
        return bool(common.read_yaml(self.folder / "params.yaml")["drift"]["stops"])

    def start(
        self, *command: str, output: IO[str] | int = subprocess.PIPE, **variables: str
    ) -> "subprocess.Popen[str]":
        """Start a command of the environment's, in a process group of its own."""
        scripts = Path(sys.executable).parent
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))},
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{CLOCK}",
            "PYTHONIOENCODING": "utf-8",
            "PLANT_CLOCK": str(self._clock),
            **({"PREFECT_API_URL": self.server} if self.server else {}),
            **variables,
        }
        return subprocess.Popen(
            [str(scripts / command[0]), *command[1:]],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )

    def finished(
        self, code: int, output: str, start: float, before: Any, *, check: bool, command: tuple[str, ...]
    ) -> Ran:
        """Sum up a command that has ended."""
        wall, used = time.time() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"\n$ {' '.join(command)}   [{code}, {wall:.1f} s]\n{output}")
        if check and code:
            raise HarmoniadError(f"{' '.join(command)} in {self.folder} exited with {code}. See {self._log}")
        return Ran(code, output, read_clock(self._clock, start, wall, cpu))

    def json(self, path: str) -> Any:
        """The content of one of its JSON files; None if it is not there."""
        file = self.folder / path
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


@contextlib.contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """A Prefect server for as long as the block runs; gives the address of its API."""
    home.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}/api", home / "server.log"
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", *f"server start --host 127.0.0.1 --port {port} --no-ui".split()],
            cwd=home,
            env={**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        end = time.monotonic() + SECONDS_TO_START
        while not _answers(url):
            if server.poll() is not None or time.monotonic() > end:
                raise HarmoniadError(f"the Prefect server did not start. See {log}")
            time.sleep(0.3)
        yield url
    finally:
        end_tree(server.pid)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", timeout=5).is_success
    return False
