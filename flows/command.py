"""Running a command so that its output streams, its time limit holds and nothing of it is left behind."""

import contextlib
import contextvars
import os
import subprocess
import sysconfig
import threading
from collections.abc import Callable, Sequence

import psutil

SECONDS_TO_END = 10.0  # between asking a process to end and killing it


def run_command(command: Sequence[str], seconds: float, on_line: Callable[[str], None]) -> tuple[int, list[str]]:
    """Run a command, hand each line of its output to `on_line`, and end it with all its children if it takes too long.

    Returns:
        The exit code and the lines (standard output and error, in the order in which they came).

    Raises:
        TimeoutError: It ran longer than `seconds`.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=_environment(),
    )
    lines: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                lines.append(line.rstrip())
                on_line(lines[-1])

    # The limit must hold while nothing is written, so reading has a thread of its own; Prefect's settings go along.
    reader = threading.Thread(target=contextvars.copy_context().run, args=(read,), daemon=True)
    reader.start()
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"ended after {seconds:g} s") from error
    finally:  # also when the flow is cancelled or interrupted
        if process.poll() is None:
            end_tree(process.pid)
        reader.join(SECONDS_TO_END)
    return code, lines


def end_tree(pid: int) -> None:
    """End a process and all its descendants; what does not go within `SECONDS_TO_END` is killed."""
    try:
        root = psutil.Process(pid)
        processes = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=SECONDS_TO_END)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _environment() -> dict[str, str]:
    scripts = sysconfig.get_path("scripts")  # DVC calls `harmoniad` by name, though nobody has activated this venv
    return {
        **os.environ,
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONUNBUFFERED": "1",
    }
