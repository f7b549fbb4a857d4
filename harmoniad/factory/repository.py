"""git and DVC as the factory's loop uses them: what is missing is told in a warning, and nothing is lost."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmoniad.data.sets import DATA_DIR, names
from harmoniad.files import write_json

SECONDS_OF_A_LOCK = 600  # no git command here takes so long: an older lock is that of one that was killed
_IDENTITY = 'git does not know who you are. Run `git config user.name "…"` and `git config user.email "…"`'
_GIT_ADVICE = {
    "not a git repository": "this folder is no git repository. Run `git init`",
    "tell me who you are": _IDENTITY,
    "empty ident": _IDENTITY,
    "auto-detect email": _IDENTITY,
    "no email was given": _IDENTITY,
    "index.lock": "another git command is running, or died: see .git/index.lock",
}


def tracked_sets() -> list[str]:
    """The data sets that DVC tracks, whether they take part or not."""
    return sorted({name for name in names() if Path(dvc_file(name)).is_file()})


def dvc_file(name: str) -> str:
    """Where git keeps the version of a data set."""
    return f"{DATA_DIR.as_posix()}/{name}.dvc"


def ignore_file() -> list[str]:
    """DVC's list of the data sets that git leaves alone, if there is one."""
    path = DATA_DIR / ".gitignore"
    return [path.as_posix()] if path.is_file() else []


def changed_files(paths: Sequence[str]) -> list[str] | None:
    """Those of some files whose content git has not got; None without a git repository."""
    if not paths:
        return []
    done = git("status", "--porcelain", "-z", "--untracked-files=all", "--", *paths)
    if done.returncode:
        return None
    changed = [entry[3:] for entry in done.stdout.split("\0") if entry]
    return [path for path in paths if any(f"/{entry}".endswith(f"/{path}") for entry in changed)]


def commit(paths: Sequence[str], message: str, command: str) -> str:
    """Commit some files and nothing else that is staged or changed.

    Returns:
        A line for the user, which begins with `command` or, if it failed, with `warning`.
    """
    _remove_dead_lock()
    done = git("add", "--", *paths)
    if not done.returncode:
        done = git("commit", "--quiet", "--message", message, "--", *paths)
    title = message.partition("\n")[0]
    if not done.returncode:
        return f"{command}: committed “{title}”"
    said = f"{done.stderr}\n{done.stdout}"
    advice = next((advice for symptom, advice in _GIT_ADVICE.items() if symptom in said), "")
    why = advice or (said.strip().splitlines() or ["no reason given"])[-1].removeprefix("fatal: ")
    return f"warning: not committed: {why}. Nothing is lost: the next run commits “{title}”."


def _remove_dead_lock() -> None:
    """Delete the lock that a killed git left behind: nobody is there at night to do it."""
    found = git("rev-parse", "--git-path", "index.lock")
    if found.returncode:
        return
    lock = Path(found.stdout.strip())
    with contextlib.suppress(OSError):
        if time.time() - lock.stat().st_mtime > SECONDS_OF_A_LOCK:
            lock.unlink()


def remote() -> tuple[str | None, str]:
    """The remote that is pushed to: the default one, or the only one; or why there is none."""
    from dvc.config import Config

    config = Config.from_cwd()
    remotes, default = list(config["remote"]), config["core"].get("remote")
    if default or len(remotes) == 1:
        return default or remotes[0], ""
    if remotes:
        return None, f"none of the remotes {', '.join(remotes)} is the default. Run `dvc remote default NAME`"
    return None, "no remote is configured (`dvc remote add --default NAME URL`)"


def push(what: Sequence[str], told: str, unpushed: Path, content: Any) -> str:
    """Push to the remote, and remember what could not be pushed.

    Args:
        what: What `dvc push` is told to push.
        told: What the line for the user begins with if that went well.
        unpushed: The file that is there as long as something has to be pushed.
        content: What it holds.
    """
    store, problem = remote()
    if store is None:
        unpushed.unlink(missing_ok=True)
        return f"note: not pushed: {problem}."
    write_json(unpushed, content)
    done = dvc("push", "--quiet", "--remote", store, *what)
    if done.returncode:
        return f"warning: not pushed to `{store}`: {reason(done)}. Nothing is lost: the next run tries again."
    unpushed.unlink()
    return f"{told} to `{store}`"


def no_git() -> str:
    """Why git does not work here."""
    said = git("status").stderr
    return next((advice for symptom, advice in _GIT_ADVICE.items() if symptom in said), said.strip() or "git failed")


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git; without git, it fails with a reason."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, check=False, encoding="utf-8", errors="replace")
    except OSError as error:
        return subprocess.CompletedProcess(arguments, 1, "", f"git cannot be run ({error.strerror})")


def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC."""
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, check=False, encoding="utf-8", errors="replace")


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why DVC failed."""
    lines = done.stderr.strip().splitlines() or ["no reason given"]
    return next((line for line in lines if line.startswith("ERROR:")), lines[-1]).removeprefix("ERROR: ").rstrip(".")
