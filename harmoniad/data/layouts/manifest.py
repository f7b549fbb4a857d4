"""A table of images, for data that lies in folders of any other kind: CSV or JSON lines, one line an image.

The columns: `path`, `category`, `split` (train, test, held_out; empty: split by hash), `label` (good or defect),
`defect` (its kind), `mask` (several with `|` between them), `view`, `group` (structural, logical) and `saturation`
(pixels, as 6300, or a share of the defect, as 50%, for each mask). Only `path` and one of `label` and `defect` must be
there. Paths start at the manifest's own folder or at the root of the file system. `harmoniad data export` writes such a
table.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harmoniad.data.layouts.record import Label, Record, Split, check_characters, check_label
from harmoniad.data.saturation import Saturation, parse
from harmoniad.errors import HarmoniadError

EXPECTED = "manifest.csv or manifest.jsonl with path, category, split, label, defect, mask"
SUFFIXES = (".csv", ".jsonl")
COLUMNS = ("path", "category", "split", "label", "defect", "mask", "view", "group", "saturation")
SEPARATOR = "|"

_NAMES = tuple(f"manifest{suffix}" for suffix in SUFFIXES)
ALIASES = {
    "path": ("image", "image_path", "file", "filename"),
    "category": ("object",),
    "defect": ("defect_type", "anomaly_class"),
    "mask": ("masks", "mask_path"),
}
_GOOD = {"good", "ok", "normal", "0"}
_DEFECT = {"defect", "defective", "bad", "ko", "ng", "anomaly", "anomalous", "abnormal", "1"}
_SPLITS: dict[str, Split] = {
    "": "by_hash",
    "train": "train",
    "test": "test",
    "held_out": "held_out",
    "validation": "held_out",
    "val": "held_out",
}


def is_category(folder: Path) -> bool:
    """Never: a manifest tells the category of each image."""
    return False


def detect(root: Path) -> bool:
    """Whether `root` holds `manifest.csv` or `manifest.jsonl`, or is a manifest itself."""
    return _file(root) is not None


def train_folder(category: Path) -> Path:
    """The manifest, in which the good images are missing."""
    return _file(category.parent) or category


def read(root: Path, category: str | None = None) -> Iterator[Record]:
    """Yield the images that the manifest in the folder `root`, or the manifest `root` itself, lists.

    Raises:
        HarmoniadError: The manifest is not what it should be, or names files that are missing.
    """
    file = _file(root)
    if file is None:
        raise HarmoniadError(f"{root}: holds neither {' nor '.join(_NAMES)}.")
    seen: dict[Path, str] = {}
    for where, line in _lines(file):
        try:
            record = _record(line, file)
        except (ValueError, HarmoniadError) as error:
            raise HarmoniadError(f"{where}: {error}") from error
        if record.path in seen:
            raise HarmoniadError(f"{where}: {line['path']}: stands in {seen[record.path]} already.")
        seen[record.path] = where.rpartition(", ")[2]
        if category in (None, record.category):
            yield record


def write(records: Iterable[Record], file: Path) -> bytes:
    """The content of a manifest that reads back as `records`: JSON lines if `file` is called so, otherwise CSV.

    Paths are written from the folder of `file` on.

    Raises:
        HarmoniadError: The name of a mask holds the separator.
    """
    lines = [_line(record, file.parent) for record in records]
    if file.suffix.lower() == ".jsonl":
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def _file(root: Path) -> Path | None:
    if root.suffix.lower() in SUFFIXES and root.is_file():
        return root
    return next((root / name for name in _NAMES if (root / name).is_file()), None)


def _lines(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each line with its place, under the names in `COLUMNS`."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise HarmoniadError(f"{file}: is not UTF-8. Save it as such.") from error
    lines = _json_lines(text, file) if file.suffix.lower() == ".jsonl" else _csv_lines(text, file)
    for where, line in lines:
        yield where, _named(line)


def _json_lines(text: str, file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, content in enumerate(text.split("\n"), 1):
        if content.strip():
            try:
                line = json.loads(content)
            except ValueError as error:
                raise HarmoniadError(f"{file}, line {number}: not valid JSON ({error}).") from error
            if not isinstance(line, dict):
                raise HarmoniadError(f"{file}, line {number}: is not a JSON object.")
            yield f"{file}, line {number}", line


def _csv_lines(text: str, file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)  # as spreadsheets of different countries write it
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    present = set(_named(dict.fromkeys(lines.fieldnames or (), "")))
    if "path" not in present or not present & {"label", "defect"}:
        raise HarmoniadError(f"{file}: must have the columns path and label; it may have {', '.join(COLUMNS)}.")
    try:
        for line in lines:
            yield f"{file}, line {lines.line_num}", line
    except csv.Error as error:
        raise HarmoniadError(f"{file}, line {lines.line_num}: {error}.") from error


def _named(line: Mapping[str, Any]) -> dict[str, str]:
    named = {}
    for column in COLUMNS:
        names = (column, *ALIASES.get(column, ()))
        value = next((line[name] for name in names if line.get(name) is not None), None)
        if value is not None:
            named[column] = SEPARATOR.join(map(str, value)) if isinstance(value, list) else str(value)
    return named


def _record(line: Mapping[str, str], file: Path) -> Record:
    """The record of one line.

    Raises:
        ValueError: The line is wrong; the reason.
    """
    label, defect = _label(line)
    split = line.get("split", "").lower()
    if split not in _SPLITS:
        raise ValueError(f"split `{line['split']}` is not one of train, test, held_out, or empty")
    if split in ("", "held_out", "validation", "val") and label == "defect":
        if split:
            raise ValueError("a defect cannot be held out: the threshold is set on good images alone")
        split = "test"
    masks: tuple[Path, ...] = ()
    saturation: tuple[Saturation, ...] = ()
    if label == "defect" and line.get("mask"):
        masks = tuple(_path(name, file.parent, "mask") for name in line["mask"].split(SEPARATOR))
        saturation = tuple(parse(rule) for rule in line.get("saturation", "").split(SEPARATOR) if rule)
        if len(saturation) not in (0, 1, len(masks)) and any(rule.grey is None for rule in saturation):
            raise ValueError(f"{len(saturation)} saturation areas for {len(masks)} masks")
    category = line.get("category") or file.stem
    for name in (category, defect):
        check_label(name)
    return Record(
        _path(line.get("path", ""), file.parent, "image"),
        category,
        _SPLITS[split],
        label,
        defect,
        masks,
        line.get("view", ""),
        line.get("group", "") if label == "defect" else "",
        saturation,
    )


def _label(line: Mapping[str, str]) -> tuple[Label, str]:
    """Label and kind of defect; each may be missing."""
    defect = line.get("defect", "")
    text = (line.get("label") or defect).lower()
    if text in _GOOD:
        return "good", "good"
    if line.get("label") and text not in _DEFECT:
        raise ValueError(f"label `{line['label']}` is neither good nor defect")
    if not text:
        raise ValueError("has neither label nor defect")
    return "defect", defect or "defect"


def _path(name: str, folder: Path, what: str) -> Path:
    if not name:
        raise ValueError(f"has no {what}")
    path = Path(os.path.normpath(folder / name))
    check_characters(path)
    if not path.is_file():
        raise ValueError(f"{name}: no such {what}")
    return path


def _line(record: Record, folder: Path) -> dict[str, str]:
    masks = [_relative(mask, folder) for mask in record.masks]
    for mask in masks:
        if SEPARATOR in mask:
            raise HarmoniadError(f"{mask}: the name holds `{SEPARATOR}`, which stands between masks. Rename it.")
    return {
        "path": _relative(record.path, folder),
        "category": record.category,
        "split": "" if record.split == "by_hash" else record.split,
        "label": record.label,
        "defect": record.defect,
        "mask": SEPARATOR.join(masks),
        "view": record.view,
        "group": record.group,
        "saturation": SEPARATOR.join(map(str, record.saturation)),
    }


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return Path(os.path.abspath(path)).as_posix()  # noqa: PTH100 - resolve would follow links
