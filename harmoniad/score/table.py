"""`scores.csv`: a row an image, written as the scores come, so that a kill loses none of them."""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from harmoniad.files import full_disk_is_told, write_bytes
from harmoniad.report.text import one_line
from harmoniad.score.inputs import Item, place_of

Verdict = Literal["accepted", "rejected", "unreadable"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would compute


@dataclass(frozen=True)
class Row:
    """What became of one image; all as text, as it stands in the file.

    Attributes:
        image: Its path; one that a spreadsheet would take for a formula begins with `./`.
        category: Empty if it is not known.
        score: Raw score; empty if the image could not be read.
        threshold: What it was compared with.
        verdict: `rejected`, `accepted` or `unreadable`.
        region_box: Left, top, right and bottom of the largest region in pixels; empty without one.
        region_area: Its pixels.
        heatmap: The name of its pictures in `heatmaps/` and `overlays/`; empty if there are none.
        error: Why the image could not be read.
        bytes: Size of the file that was scored.
        modified: When that file was written, in nanoseconds.
    """

    image: str
    category: str
    score: str
    threshold: str
    verdict: str
    region_box: str
    region_area: str
    heatmap: str
    error: str
    bytes: str
    modified: str

    @property
    def place(self) -> str:
        """Where the image lies, whatever way it is named."""
        return place_of(Path(self.image))


COLUMNS = [column.name for column in fields(Row)]


def image_cell(path: Path) -> str:
    """A path as a cell: readable by any program, and no formula."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return f"./{text}" if text.startswith(_FORMULA) else text


def text_cell(text: str) -> str:
    """Text as a cell, in one line and no formula."""
    line = one_line(text)
    return f"'{line}" if line.startswith(_FORMULA) else line


class ScoreTable:
    """The rows of a file, and the file."""

    def __init__(self, path: Path) -> None:
        """Open a file; what a killed call left half written is dropped."""
        self._path = path
        self._rows: dict[str, Row] = {}
        content = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        whole = content[: content.rfind("\n") + 1]
        read = [cells for cells in csv.reader(io.StringIO(whole, newline="")) if len(cells) == len(COLUMNS)]
        for cells in read[1:]:
            row = Row(*cells)
            self._rows[row.place] = row
        if self._text(self._rows.values()) != content:
            self._rewrite()

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return list(self._rows.values())

    def of(self, item: Item) -> Row | None:
        """The row of an image; None where it has none, the file has changed, or it could not be read."""
        row = self._rows.get(item.place)
        if row is None or row.verdict == "unreadable":
            return None
        same_file = (row.bytes, row.modified) == (str(item.bytes), str(item.modified))
        return row if same_file and row.category == text_cell(item.category or "") else None

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows, which are on the disk when this returns; older ones of the same images go.

        Raises:
            HarmoniadError: The disk is full.
        """
        new = {row.place: row for row in rows}
        replaces = bool(new.keys() & self._rows.keys())
        self._rows |= new
        if replaces:
            self._rewrite()
            return
        with full_disk_is_told(self._path), self._path.open("ab") as file:
            file.write(self._lines(new.values()).encode())
            file.flush()
            os.fsync(file.fileno())

    def _rewrite(self) -> None:
        write_bytes(self._path, self._text(self._rows.values()).encode())

    def _text(self, rows: Iterable[Row]) -> str:
        return ",".join(COLUMNS) + "\n" + self._lines(rows)

    @staticmethod
    def _lines(rows: Iterable[Row]) -> str:
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerows([[getattr(row, name) for name in COLUMNS] for row in rows])
        return buffer.getvalue()
