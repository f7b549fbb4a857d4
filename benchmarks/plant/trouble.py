"""What goes wrong in a plant: a process dies, the disk is full, a server is away."""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.plant.project import Project, Ran
from benchmarks.plant.timing import stage_of

NOWHERE = "http://127.0.0.1:9"  # nothing listens there
MEGABYTE = 1 << 20
LARGEST_FILE = 20_000


def kill_in(project: Project, stage: str, seconds: float, rng: random.Random) -> tuple[Ran, bool]:
    """Start a retraining and kill all of it with SIGKILL while a stage runs.

    Args:
        project: The project.
        stage: As in `harmoniad <stage>`.
        seconds: How long the stage takes, about; it is killed at a random moment of these.
        rng: Draws the moment.

    Returns:
        What was left, and whether the stage was seen and killed.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    with (project.folder.with_name(f"{project.folder.name}.killed")).open("w+", encoding="utf-8") as output:
        process = project.start("harmoniad", "retrain", output=output)
        is_killed = False
        while process.poll() is None and not is_killed:
            if _runs(process.pid, stage):
                time.sleep(rng.uniform(0, 0.7 * seconds))
                is_killed = process.poll() is None and _runs(process.pid, stage)
                if is_killed:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    break
            time.sleep(0.02)
        process.wait()
        output.seek(0)
        said = output.read()
    return project.finished(process.returncode, said, start, before, check=False, command=("retrain", "kill", stage)), (
        is_killed
    )


def _runs(pid: int, stage: str) -> bool:
    """Whether a stage's own process runs below a process."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                command = child.cmdline()
                if stage_of(command) == stage:
                    return True
    return False


@contextlib.contextmanager
def full_disk(project: Project, room: int) -> Iterator[dict[str, str]]:
    """Let the project lie on a file system of its own with hardly any room while the block runs (Linux, as root).

    Where nothing may be mounted, no file of a retraining may grow beyond `LARGEST_FILE` instead. Gives the environment
    variables that a command needs for that.
    """
    apart = project.folder.with_name(f"{project.folder.name}.apart")
    project.folder.rename(apart)
    project.folder.mkdir()
    size = sum(-(-path.lstat().st_size // 4096) * 4096 + 1024 for path in apart.rglob("*"))
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size + 64 * MEGABYTE}", "tmpfs", project.folder],
        check=False,
        capture_output=True,
    ).returncode
    if not mounted:
        project.folder.rmdir()
        apart.rename(project.folder)
        yield {"PLANT_LARGEST_FILE": str(LARGEST_FILE)}
        return
    try:
        shutil.copytree(apart, project.folder, symlinks=True, dirs_exist_ok=True)
        used = shutil.disk_usage(project.folder).used
        subprocess.run(["mount", "-o", f"remount,size={used + room}", project.folder], check=True)
        yield {}
        shutil.rmtree(apart)
        shutil.copytree(project.folder, apart, symlinks=True)
    finally:
        subprocess.run(["umount", project.folder], check=True)
        project.folder.rmdir()
        apart.rename(project.folder)


def size_of(folder: Path) -> int:
    """Bytes on disk, about."""
    return sum(path.lstat().st_size for path in folder.rglob("*"))
