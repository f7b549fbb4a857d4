"""Scans of many files that remember what they found, so that only files that are new or have changed are read again.

What is remembered lies in an SQLite file, because its transactions survive a kill at any moment and it needs no memory
for what is not asked for. It is a convenience: whatever is wrong with it costs time and never a result.
"""

import hashlib
import json
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.pool import in_parallel
from harmoniad.progress import Progress

Item = TypeVar("Item")

SCAN_CACHE = STATE_DIR / "scan.sqlite"

SECONDS_BETWEEN_SAVES = 2.0
SECONDS_TO_WAIT = 30.0  # for another process that is writing

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS scanned (files TEXT PRIMARY KEY, stamps TEXT, value TEXT, checksum INTEGER) "
    "WITHOUT ROWID"
)


def scan(
    kind: str,
    function: Callable[[Item], Any],
    items: Sequence[Item],
    files_of: Callable[[Item], Sequence[Path]],
    label: str,
    cache_file: Path | None,
    settings_of: Callable[[Item], str] = lambda item: "",
) -> tuple[list[Any], int]:
    """Call `function` for each item on all cores, but not where the files that it reads are those of an earlier scan.

    An interrupted scan keeps what it has found, and the next one goes on from there.

    Args:
        kind: What `function` finds out.
        function: Gives a JSON value; defined at the top of a module, so that processes find it.
        items: What it is called with.
        files_of: The files that it reads for an item.
        label: What the progress is called.
        cache_file: See `ScanCache`.
        settings_of: What else the value of an item depends on.

    Returns:
        What was found for each item, in their order, and how many items were known from earlier scans.

    Raises:
        HarmoniadError: There is no such file. What `function` raises is raised too.
    """
    with ScanCache(cache_file) as cache:
        stamps = [stamps_of(files_of(item), settings_of(item)) for item in items]
        found = [cache.find(kind, files_of(item), stamp) for item, stamp in zip(items, stamps, strict=True)]
        places = [place for place, value in enumerate(found) if value is None]
        known = len(items) - len(places)
        new = in_parallel(function, [items[place] for place in places])
        with closing(new), Progress(label, len(items), "images", done=known) as progress:
            for place, value in zip(places, new, strict=True):
                found[place] = value
                cache.keep(kind, files_of(items[place]), stamps[place], value)
                progress.advance()
    return found, known


def stamps_of(files: Sequence[Path], settings: str = "") -> str:
    """The size and the time of the last change of each file, and the settings with which they are read.

    Raises:
        HarmoniadError: There is no such file.
    """
    return json.dumps([settings, *(_stamp(file) for file in files)], separators=(",", ":"))


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise HarmoniadError(f"{file}: cannot be read ({error.strerror or error}).") from error
    return status.st_size, status.st_mtime_ns


class ScanCache:
    """JSON values by kind and files, each valid as long as size and time of all its files stay the same.

    Values that are kept are written every few seconds and when the block ends, with or without an error. A file of the
    cache that cannot be used is told in a note, and made anew if it is damaged.

    Args:
        path: The SQLite file, made if need be; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._unsaved: list[tuple[str, str, str, int]] = []
        self._last_save = time.monotonic()

    def find(self, kind: str, files: Sequence[Path], stamps: str) -> Any:
        """What was kept of these files, or None if there is nothing or `stamps` differ."""
        found = self._ask("SELECT stamps, value, checksum FROM scanned WHERE files = ?", _key(kind, files))
        if found is None or found[0] != stamps:
            return None
        if zlib.crc32(f"{found[0]}{found[1]}".encode()) != found[2]:
            self._give_up(sqlite3.DatabaseError("a checksum is wrong"))
            return None
        return json.loads(found[1])

    def keep(self, kind: str, files: Sequence[Path], stamps: str, value: Any) -> None:
        """Keep what was found out about files that had these stamps before they were read."""
        text = json.dumps(value, ensure_ascii=False)
        self._unsaved.append((_key(kind, files), stamps, text, zlib.crc32(f"{stamps}{text}".encode())))
        if time.monotonic() - self._last_save > SECONDS_BETWEEN_SAVES:
            self._save()

    def _ask(self, question: str, key: str) -> Any:
        if self._database is None:
            return None
        try:
            return self._database.execute(question, (key,)).fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._give_up(error)
            return None

    def _save(self) -> None:
        if self._database is not None and self._unsaved:
            try:
                with self._database:
                    self._database.executemany("REPLACE INTO scanned VALUES (?, ?, ?, ?)", self._unsaved)
            except sqlite3.Error as error:
                self._give_up(error)
        self._unsaved.clear()
        self._last_save = time.monotonic()

    def _give_up(self, error: Exception) -> None:
        """Tell that the cache cannot be used; a damaged one is deleted and started anew."""
        damaged = not isinstance(error, (sqlite3.OperationalError, OSError))  # not locked, read-only or full
        outcome = "it is made anew" if damaged else "this scan keeps nothing"
        print(f"note: {self._path}: the scan cache cannot be used ({error}); {outcome}.", file=sys.stderr)
        self._close()
        if damaged and self._path is not None:
            for suffix in ("", "-journal"):
                self._path.with_name(f"{self._path.name}{suffix}").unlink(missing_ok=True)
            self._open()

    def _open(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = self._database = sqlite3.connect(self._path, timeout=SECONDS_TO_WAIT)
        with database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version != _version():
                database.execute("DROP TABLE IF EXISTS scanned")
                database.execute(f"PRAGMA user_version = {_version()}")
            database.execute(_SCHEMA)

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None

    def __enter__(self) -> Self:
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._save()
        self._close()


def _key(kind: str, files: Sequence[Path]) -> str:
    """Paths as they are given: in a project they are relative, like those in the manifest."""
    return "\0".join([kind, *(file.as_posix() for file in files)])


def _version() -> int:
    """A number of this package's way to measure: what was measured otherwise is not taken for it."""
    from PIL import __version__

    sources = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
    return int.from_bytes(hashlib.sha256(__version__.encode() + sources).digest()[:4], "big") >> 1
