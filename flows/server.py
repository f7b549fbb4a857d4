"""A Prefect server of the project's own, for one machine with nothing else set up."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import psutil
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.command import end_tree
from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json, write_json

RUNNING = STATE_DIR / "prefect" / "server.json"
LOG = STATE_DIR / "prefect" / "server.log"
USUAL_PORT = 4200
SECONDS_TO_START = 240


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Give the address of the configured server, or of one that lives as long as the block.

    Raises:
        HarmoniadError: The configured server does not answer, or none can be started.
    """
    configured = PREFECT_API_URL.value()
    if configured:
        if not _answers(configured):
            raise HarmoniadError(
                f"no Prefect server answers at {configured}. Start it (`prefect server start`), or unset "
                "PREFECT_API_URL: then one is started here."
            )
        yield configured
        return
    url, pid = _left_behind() or _start()
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url  # for the processes of the runs
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            yield url
    finally:
        end_tree(pid)
        RUNNING.unlink(missing_ok=True)
        if before is None:
            del os.environ["PREFECT_API_URL"]
        else:
            os.environ["PREFECT_API_URL"] = before


def _left_behind() -> tuple[str, int] | None:
    """The server of a process that was killed: two of them must not share a database."""
    if not RUNNING.is_file():
        return None
    left = read_json(RUNNING)
    url, pid = str(left["url"]), int(left["pid"])
    return (url, pid) if psutil.pid_exists(pid) and _answers(url) else None


def _start() -> tuple[str, int]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("w", encoding="utf-8") as log:
        # In a session of its own it does not hear Ctrl-C, so that a run can still report to it how it ended.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    end = time.monotonic() + SECONDS_TO_START
    try:
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > end:
                raise HarmoniadError(f"Prefect's server does not start: see {LOG.as_posix()}.")
            time.sleep(0.2)
    except BaseException:
        end_tree(process.pid)
        raise
    write_json(RUNNING, {"url": url, "pid": process.pid})
    return url, process.pid


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", timeout=10).is_success
    return False


def _free_port() -> int:
    """Prefect's usual port if nobody has it."""
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise HarmoniadError("no port is free on 127.0.0.1.")
