"""Where images go that cannot be taken, each with a file that says why."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from harmoniad.data.layouts.record import check_characters
from harmoniad.data.sets import DATA_DIR, QUARANTINE
from harmoniad.errors import HarmoniadError
from harmoniad.factory.inbox import INBOX_DIR
from harmoniad.factory.journal import Entry, Move
from harmoniad.factory.places import new_name
from harmoniad.files import sha256_file

QUARANTINE_DIR = DATA_DIR / QUARANTINE
REASON_SUFFIX = ".reason.json"


def quarantine(files: Sequence[Path], reasons: Sequence[str]) -> Entry:
    """The way of a file, and of those that belong to it, into quarantine, where it lies as it did in the inbox.

    Args:
        files: The file that cannot be taken, usually an image, and its masks.
        reasons: Why.
    """
    hashes = [sha256_file(file) for file in files]
    targets = [_target(file, sha256) for file, sha256 in zip(files, hashes, strict=True)]
    moves = [Move(str(f), sha256, str(t)) for f, sha256, t in zip(files, hashes, targets, strict=True)]
    content = {
        "reasons": list(reasons),
        "file": shown(files[0]),
        "with": [shown(file) for file in files[1:]],
        "sha256": hashes[0],
        "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
    }
    note = str(targets[0].with_name(targets[0].name + REASON_SUFFIX))
    return Entry("quarantine", moves[::-1], (note, content))


def _target(file: Path, sha256: str) -> Path:
    try:
        check_characters(file)
    except HarmoniadError:  # a name that nothing can show
        return QUARANTINE_DIR / new_name(Path("unnamed"), sha256)
    return QUARANTINE_DIR / file.relative_to(INBOX_DIR).parent / new_name(file, sha256)


def shown(file: Path) -> str:
    """A path in one line that any terminal and file takes, whatever it is called."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in file.as_posix())
