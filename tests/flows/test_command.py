import _thread
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.command import end_tree, run_command

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(child.pid, flush=True)
{then}
"""


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_lines_arrive_while_the_command_runs() -> None:
    arrivals: list[tuple[str, float]] = []
    script = "import sys, time; print('one ü'); time.sleep(1); print('two', file=sys.stderr); print(); sys.exit(3)"
    code, lines = run_command(
        [sys.executable, "-c", script], 60, lambda line: arrivals.append((line, time.monotonic()))
    )
    assert code == 3
    assert lines == [line for line, _ in arrivals] == ["one ü", "two"]
    assert arrivals[1][1] - arrivals[0][1] > 0.8


def test_too_slow_a_command_is_ended_with_its_children() -> None:
    pids: list[int] = []
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="ended after 4 s"):
        run_command(
            [sys.executable, "-c", PARENT.format(then="time.sleep(300)")], 4, lambda line: pids.append(int(line))
        )
    assert time.monotonic() - start < 20
    assert len(pids) == 1
    assert not is_alive(pids[0])


def test_an_interrupted_command_is_ended_with_its_children() -> None:
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        _thread.interrupt_main()  # as Ctrl-C does

    with pytest.raises(KeyboardInterrupt):
        run_command([sys.executable, "-c", PARENT.format(then="time.sleep(300)")], 60, interrupt)
    assert not is_alive(pids[0])


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot refuse to be terminated on Windows")
def test_a_process_that_refuses_to_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.command.SECONDS_TO_END", 1.0)
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(300)"
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        run_command([sys.executable, "-c", script], 3, print)
    assert 4 <= time.monotonic() - start < 20


def test_ending_a_process_that_is_gone_is_no_error() -> None:
    with psutil.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    end_tree(process.pid)


def test_the_commands_of_this_environment_are_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    script = "import shutil; print(shutil.which('dvc'))"
    _, lines = run_command([sys.executable, "-c", script], 60, lambda line: None)
    assert Path(lines[0]).parent == Path(sys.executable).parent
