"""What came in becomes a version: `dvc add`, a git commit that says what it is, and `dvc push`.

Whatever is missing for it, such as git's identity or a remote that answers, is told in a warning. The images stay where
they are, and the next run makes good what this one could not do.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harmoniad.data.layouts import layout_named
from harmoniad.data.layouts.record import Record
from harmoniad.data.sets import DATA_DIR, SAMPLE, layout_name_of
from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.factory.repository import (
    changed_files,
    commit,
    dvc,
    dvc_file,
    git,
    ignore_file,
    no_git,
    push,
    reason,
    tracked_sets,
)
from harmoniad.files import read_json
from harmoniad.params import Params

UNPUSHED = STATE_DIR / "unpushed.json"


def is_needed(params: Params) -> bool:
    """Whether there is something to add, to commit or to push; without calling DVC."""
    return bool(_grown(params) or _uncommitted(tracked_sets()) or UNPUSHED.is_file())


def run(params: Params) -> list[str]:
    """Add the data sets that have grown, commit them and push them.

    Returns:
        Lines for the user, warnings among them.

    Raises:
        HarmoniadError: `dvc add` failed.
    """
    grown = _grown(params)
    lines = [_add(name) for name in grown]
    tracked = tracked_sets()
    changed = _uncommitted(tracked)
    if changed:
        lines.append(_commit(changed))
    elif changed is None and grown:
        lines.append(f"warning: {', '.join(map(dvc_file, grown))} not committed: {no_git()}. Nothing is lost.")
    to_push = sorted({*grown, *(changed or ()), *_unpushed()} & set(tracked))
    if to_push:
        lines.append(push([*map(dvc_file, to_push)], f"version: pushed {', '.join(to_push)}", UNPUSHED, to_push))
    return lines or ["version: nothing has changed"]


def _grown(params: Params) -> list[str]:
    """The data sets that take part and are not tracked yet, and those that have not the size that DVC knows."""
    tracked = tracked_sets()
    untracked = {name for name in params.data.sets if (DATA_DIR / name).is_dir()} - {SAMPLE, *tracked}
    return sorted({*untracked, *(name for name in tracked if _size(DATA_DIR / name) not in (None, _known_size(name)))})


def _size(root: Path) -> tuple[int, int] | None:
    """The number of files and of bytes in a data set; None if it is not here."""
    if not root.is_dir():
        return None
    sizes = [
        Path(parent, name).stat().st_size
        for parent, _, files in os.walk(root)
        for name in files
        if not (name.startswith(".") and name.endswith(".tmp"))  # as .dvcignore has it
    ]
    return len(sizes), sum(sizes)


def _known_size(name: str) -> tuple[int, int]:
    import yaml

    try:
        (out,) = yaml.safe_load(Path(dvc_file(name)).read_text(encoding="utf-8"))["outs"]
        return int(out["nfiles"]), int(out["size"])
    except (yaml.YAMLError, TypeError, KeyError, ValueError):
        return -1, -1  # DVC will say what is wrong with it


def _add(name: str) -> str:
    folder, is_tracked = f"{DATA_DIR.as_posix()}/{name}", Path(dvc_file(name)).is_file()
    done = dvc("add", "--quiet", folder)
    if not done.returncode:
        return f"version: {folder} is added to DVC"
    problem = f"dvc add {folder} failed, so it is not a version yet: {reason(done)}"
    if is_tracked:
        raise HarmoniadError(problem)
    return f"warning: {problem}"


def _uncommitted(sets: Sequence[str]) -> list[str] | None:
    """The tracked data sets whose version git has not got; None without a git repository."""
    changed = changed_files([dvc_file(name) for name in sets])
    return None if changed is None else [name for name in sets if dvc_file(name) in changed]


def _commit(sets: Sequence[str]) -> str:
    """Commit the `.dvc` files of some data sets, and nothing else that is staged."""
    return commit([*map(dvc_file, sets), *ignore_file()], _message(sets), "version")


def _message(sets: Sequence[str]) -> str:
    """What has come and gone since the last commit."""
    changes = {name: _changes(name) for name in sets}
    titles = [f"{name}: {_count(*of_set)}" for name, of_set in changes.items()]
    lines = []
    for name, (added, _) in changes.items():
        categories = Counter((record.category, record.split, record.defect) for record in added)
        lines += [
            f"{name}, {category}: {count} {'good' if defect == 'good' else f'with {defect}'} ({_side(split)})"
            for (category, split, defect), count in sorted(categories.items())
        ]
    return "\n\n".join(filter(None, [f"data: {'; '.join(titles)}", "\n".join(lines)]))


def _side(split: str) -> str:
    return {"train": "train or held out, by hash", "by_hash": "by hash", "held_out": "held out"}.get(split, split)


def _count(added: Sequence[Record], deleted: int) -> str:
    kinds = Counter(record.label for record in added)
    parts = [f"{kinds['good']} new good images"] if kinds["good"] else []
    parts += [f"{kinds['defect']} with defects"] if kinds["defect"] else []
    parts += [f"{deleted} files removed"] if deleted else []
    return ", ".join(parts) or "changed"


def _changes(name: str) -> tuple[list[Record], int]:
    """The images that were added since the last commit, and how many files were removed; nothing if DVC cannot tell."""
    root = DATA_DIR / name
    try:
        records = list(layout_named(layout_name_of(root)).read(root))
    except HarmoniadError:
        return [], 0
    if git("cat-file", "-e", f"HEAD:./{dvc_file(name)}").returncode:
        return records, 0  # its first version
    done = dvc("diff", "--json", "--targets", root.as_posix())
    try:
        diff = json.loads(done.stdout)
    except ValueError:
        return [], 0
    added = {Path(entry["path"]).as_posix() for entry in diff.get("added", [])}
    deleted = sum(not entry["path"].endswith(("/", "\\")) for entry in diff.get("deleted", []))
    return [record for record in records if record.path.as_posix() in added], deleted


def _unpushed() -> list[str]:
    return list(read_json(UNPUSHED)) if UNPUSHED.is_file() else []
