"""What a retraining gave becomes a version: `dvc.lock` and the metrics are committed, and DVC's outputs are pushed.

A day's commit is then all that is needed to get its model and its metrics again: `git checkout`, `dvc checkout` (or
`dvc pull`), `dvc repro`. Whatever is missing for it is told in a warning; nothing is lost.
"""

from pathlib import Path
from typing import Any

from harmoniad.environment import STATE_DIR
from harmoniad.factory.repository import changed_files, commit, dvc_file, git, ignore_file, no_git, push, tracked_sets
from harmoniad.files import read_json
from harmoniad.stages.register import REGISTERED_FILE
from harmoniad.tracking.results import DVC_LOCK, METRICS_FILE

UNPUSHED = STATE_DIR / "unpushed_results.json"
REFERENCE = Path("results/validate/reference.json")
_FILES = [DVC_LOCK, METRICS_FILE, REFERENCE]
_INPUTS = ["params.yaml", "dvc.yaml", "harmoniad"]  # which the user writes, and which decide about the results


def is_needed() -> bool:
    """Whether there is something to commit or to push."""
    return changed_files(_files()) != [] or UNPUSHED.is_file()


def run() -> list[str]:
    """Commit the results of the last run with what they were made from, and push them; nothing else is committed.

    Returns:
        Lines for the user, warnings among them.
    """
    changed = changed_files(_files())
    if changed is None:
        return [f"warning: {DVC_LOCK} and the metrics are not committed: {no_git()}. Nothing is lost."]
    lines = []
    if changed:
        lines += [commit([*changed, *ignore_file()], _message(), "results"), *_uncommitted_inputs()]
    if changed or UNPUSHED.is_file():
        lines.append(_push())
    return lines or ["results: nothing has changed"]


def _files() -> list[str]:
    return [*(path.as_posix() for path in _FILES if path.is_file()), *map(dvc_file, tracked_sets())]


def _message() -> str:
    """Which version it is and what the gate decided."""
    metrics = read_json(METRICS_FILE) if METRICS_FILE.is_file() else {}
    registered: dict[str, Any] = read_json(REGISTERED_FILE) if REGISTERED_FILE.is_file() else {}
    if not registered or registered.get("data_fingerprint") != metrics.get("data_fingerprint"):
        return "model: results that are not registered"
    version = f"model: {registered['name']} version {registered['version']}"
    if registered["decision"] == "promoted":
        title = f"{version} is the champion"
    else:
        against = f" (version {registered['compared_with']})" if registered.get("compared_with") else ""
        title = f"{version}, the champion stays{against}"
    return "\n\n".join([title, "\n".join(f"- {why}" for why in registered["reasons"])])


def _uncommitted_inputs() -> list[str]:
    there = [name for name in _INPUTS if Path(name).exists()]
    files = [
        line[3:] for line in git("status", "--porcelain", "--untracked-files=no", "--", *there).stdout.splitlines()
    ]
    if not files:
        return []
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return [
        f"warning: {files[0]}{more} differs from the commit, so the commit does not give these results again. "
        "Commit it yourself."
    ]


def _push() -> str:
    """Push all that the commit names; after a push that failed, also what the commits before it name."""
    return push(["--all-commits"] if UNPUSHED.is_file() else [], "results: pushed", UNPUSHED, True)
