"""Lists that some layouts keep of their images, to which new ones are added."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from harmoniad.data.layouts.manifest import ALIASES, SEPARATOR
from harmoniad.data.layouts.visa import SPLIT_FILE
from harmoniad.files import write_bytes

Line = Mapping[str, str | list[str]]
"""What a list says of an image: `category`, `split`, `label`, `defect`, and, from the list's folder on, `image` and
`masks`."""


def list_of(root: Path) -> Path | None:
    """The list of a data set; none where its folders say it all."""
    names = (Path("manifest.csv"), Path("manifest.jsonl"), SPLIT_FILE)
    return next((root / name for name in names if (root / name).is_file()), None)


def add_lines(root: Path, lines: Sequence[Line]) -> None:
    """Add images to the list of the data set in `root`, in one step; those that it has already are left alone.

    Args:
        root: The data set; one without a list needs none.
        lines: What is added; paths are relative to `root`.
    """
    file = list_of(root)
    if file is None or not lines:
        return
    if file.name.endswith(".jsonl"):
        _add_to_json_lines(file, lines)
    else:
        _add_to_csv(file, [_visa(line) if file == root / SPLIT_FILE else _flat(line) for line in lines])


def _flat(line: Line) -> dict[str, str]:
    """A line of a manifest."""
    row = {key: SEPARATOR.join(value) if isinstance(value, list) else value for key, value in line.items()}
    return {"path": row.pop("image"), "mask": row.pop("masks"), **row}


def _visa(line: Line) -> dict[str, str]:
    flat = _flat(line)
    label = "normal" if flat["label"] == "good" else "anomaly"
    return {"object": flat["category"], "split": flat["split"], "label": label, "image": flat["path"]} | {
        "mask": flat["mask"]
    }


def _add_to_json_lines(file: Path, lines: Sequence[Line]) -> None:
    text = file.read_text(encoding="utf-8-sig").rstrip("\n")
    new = [json.dumps(_flat(line), ensure_ascii=False) for line in lines]
    known = set(text.split("\n"))
    write_bytes(file, "\n".join([text, *(line for line in new if line not in known)]).encode() + b"\n")


def _add_to_csv(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    text = file.read_text(encoding="utf-8-sig")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    old = list(reader)
    fields = list(reader.fieldnames or ())
    named = [{_column(key, fields): value for key, value in row.items()} for row in rows]
    fields += [key for key in named[0] if key not in fields]
    path = next(_column(key, fields) for key in ("path", "image") if _column(key, fields) in fields)
    known = {row[path] for row in old}
    out = io.StringIO()
    writer = csv.DictWriter(out, fields, delimiter=delimiter, lineterminator="\n", restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(old)
    writer.writerows(row for row in named if row[path] not in known)
    write_bytes(file, out.getvalue().encode())


def _column(name: str, fields: Sequence[str]) -> str:
    """What a list calls a column."""
    return next((field for field in (name, *ALIASES.get(name, ())) if field in fields), name)
