"""Moving files so that a kill at any moment loses none and takes none twice.

What will be moved is written down first. Every step can be repeated: a file's new name holds the hash of its content,
so what lies there already is the file itself. A run that was killed is finished by the next one before anything else.
"""

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from harmoniad.errors import HarmoniadError
from harmoniad.factory.inbox import JOURNAL
from harmoniad.factory.listings import Line, add_lines
from harmoniad.files import replacing, sha256_file, write_bytes, write_json


@dataclass(frozen=True)
class Move:
    """A file, the hash of its content and where it goes."""

    source: str
    sha256: str
    target: str


@dataclass(frozen=True)
class Entry:
    """An image with its masks on its way out of the inbox.

    Attributes:
        kind: Into a data set, or into quarantine.
        moves: The files; the image last, so that it never lies in a data set without its masks.
        note: For quarantine, the reason file: its path and what it says.
        root: The data set.
        line: What the data set's list says of it, where there is one.
    """

    kind: Literal["take", "quarantine"]
    moves: list[Move]
    note: tuple[str, dict[str, Any]] | None = None
    root: str = ""
    line: dict[str, Any] = field(default_factory=dict)


def carry_out(entries: Sequence[Entry]) -> None:
    """Write down what is to be done, and do it.

    Raises:
        HarmoniadError: The disk is full. What was not done is done by `finish`.
    """
    if not entries:
        return
    # ASCII, since a name that is no UTF-8 must come back as it was.
    write_bytes(JOURNAL, json.dumps([asdict(entry) for entry in entries]).encode())
    _do(entries)
    JOURNAL.unlink()


def finish() -> list[Entry]:
    """Finish what a run that was killed had begun, and give what that was.

    Raises:
        HarmoniadError: The journal is damaged, or the disk is full.
    """
    _remove_leftovers(JOURNAL.parent, [JOURNAL.name])
    if not JOURNAL.is_file():
        return []
    try:
        content = json.loads(JOURNAL.read_bytes())
        entries = [
            Entry(**{**entry, "moves": [Move(**move) for move in entry["moves"]], "note": entry["note"] or None})
            for entry in content
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise HarmoniadError(f"{JOURNAL.as_posix()}: is damaged. Delete it: no image depends on it.") from error
    written = [
        Path(path) for entry in entries for path in (*(move.target for move in entry.moves), _note(entry)) if path
    ]
    for folder in {path.parent for path in written}:
        _remove_leftovers(folder, [path.name for path in written if path.parent == folder])
    _do(entries)
    JOURNAL.unlink()
    return entries


def _note(entry: Entry) -> str:
    return entry.note[0] if entry.note else ""


def _do(entries: Sequence[Entry]) -> None:
    lines: dict[str, list[Line]] = {}
    for entry in entries:
        if entry.note is not None and any(Path(move.source).exists() for move in entry.moves):
            write_json(Path(entry.note[0]), entry.note[1])
        for move in entry.moves:
            _move(move)
        if entry.line and Path(entry.moves[-1].target).is_file():
            lines.setdefault(entry.root, []).append(entry.line)
    for root, of_set in lines.items():
        add_lines(Path(root), of_set)


def _move(move: Move) -> None:
    """Move a file, unless it has been moved, taken away or replaced by another since it was looked at."""
    source, target = Path(move.source), Path(move.target)
    if not source.is_file() or sha256_file(source) != move.sha256:
        return
    if target.exists():
        if sha256_file(target) == move.sha256:  # it was copied before, but not yet deleted here
            source.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_symlink():
        try:
            source.rename(target)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:  # another file system: copied, and deleted when the copy is safe
                raise
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
        shutil.copystat(source, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
    source.unlink()


def _remove_leftovers(folder: Path, names: Sequence[str]) -> None:
    """Remove what a kill left beside files that were being written."""
    for path in folder.glob(".*.tmp"):
        if path.name.startswith(tuple(f".{name}." for name in names)):
            path.unlink(missing_ok=True)
