"""Which images are to be scored: files, folders, globs, and tables with the columns path and category."""

import csv
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harmoniad.data.layouts.record import is_image_name, is_junk
from harmoniad.errors import HarmoniadError
from harmoniad.factory.inbox import age


@dataclass(frozen=True)
class Item:
    """An image to score.

    Attributes:
        path: As it was named.
        category: Its category, None if it is not known.
        bytes: Size of the file, -1 if there is none.
        modified: When it was written, in nanoseconds.
    """

    path: Path
    category: str | None
    bytes: int
    modified: int

    @property
    def place(self) -> str:
        """Where the image lies, whatever way it is named."""
        return place_of(self.path)


@dataclass
class Found:
    """What a look at the inputs gave.

    Attributes:
        items: The images, each once.
        left_out: How many files of folders are not named like an image.
    """

    items: list[Item] = field(default_factory=list)
    left_out: int = 0


def place_of(path: Path) -> str:
    """An absolute path as UTF-8 can hold it."""
    return str(path.absolute()).encode("utf-8", "backslashreplace").decode()


def find(sources: Sequence[str], category: str | None, out: Path, *, patient: bool = False) -> Found:
    """Look for images.

    Args:
        sources: Files, folders (with all that is in them), globs, or CSV files with a column `path` (relative to the
            CSV's folder) and, if wanted, `category`.
        category: Of the images whose category is not told.
        out: A folder whose content does not count.
        patient: Whether a glob may match nothing yet.

    Raises:
        HarmoniadError: There is no such file, a glob matches nothing, or a CSV has no column `path`.
    """
    found, seen = Found(), set[str]()
    for source in sources:
        for path, own in _expand(source, out, found, patient):
            item = _item(path, own or category)
            if item.place not in seen:
                seen.add(item.place)
                found.items.append(item)
    return found


def is_settled(item: Item, seconds: float) -> bool:
    """Whether a file has not been written to for so long."""
    try:
        return age(item.path) >= seconds
    except (OSError, ValueError):
        return True  # it is not there


def _expand(source: str, out: Path, found: Found, patient: bool) -> Iterator[tuple[Path, str | None]]:
    path = Path(source)
    if path.is_dir():
        for file in _walk(path, out.resolve()):
            if is_image_name(file.name):
                yield file, None
            elif not is_junk(file.name):
                found.left_out += 1
    elif path.exists():
        yield from _rows(path) if path.suffix.lower() == ".csv" else [(path, None)]
    else:
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207  # it may be absolute
        if not matches and not (patient and glob.has_magic(source)):
            raise HarmoniadError(f"{source}: no such file or folder, and no file matches it.")
        for match in matches:
            if Path(match).exists():
                yield from _expand(match, out, found, patient)
            else:  # a link to nowhere
                yield Path(match), None


def _walk(folder: Path, out: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not is_junk(name) and (here / name).resolve() != out)
        yield from (here / name for name in sorted(files))


def _rows(table: Path) -> Iterator[tuple[Path, str | None]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if "path" not in (rows.fieldnames or []):
                raise HarmoniadError(f"{table}: has no column `path`. Its first line names the columns: path,category")
            for row in rows:
                if row["path"]:
                    yield table.parent / row["path"], row.get("category") or None
    except (UnicodeDecodeError, csv.Error) as error:
        raise HarmoniadError(f"{table}: not a CSV file in UTF-8 ({error}).") from error


def _item(path: Path, category: str | None) -> Item:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return Item(path, category, -1, 0)
    return Item(path, category, status.st_size, status.st_mtime_ns)
