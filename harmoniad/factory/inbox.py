"""What lies in the inbox: images with their masks, what is still being written, and what has no place there.

`data/inbox/<set>/<category>/good/*`, `data/inbox/<set>/<category>/defect/<kind>/*` and, where there are masks,
`data/inbox/<set>/<category>/masks/<kind>/*`, named as `MaskFiles` says. Folders within `good` and `<kind>`, such as one
a day, do not matter.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harmoniad.data.layouts.mask_files import MaskFiles
from harmoniad.data.layouts.record import (
    Label,
    check_characters,
    check_label,
    is_image_name,
    is_junk,
    sub_folders,
)
from harmoniad.data.sets import DATA_DIR, INBOX
from harmoniad.errors import HarmoniadError

INBOX_DIR = DATA_DIR / INBOX
JOURNAL = INBOX_DIR / ".journal.json"  # see `harmoniad.factory.journal`
EXPECTED = "<set>/<category>/good/, <set>/<category>/defect/<kind>/ or <set>/<category>/masks/<kind>/"

_UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".tmp", "~")  # of programs that rename at the end
_MASKS = ("masks", "ground_truth")
_NO_KINDS = ("good", "ok", "normal", "good_train", *_MASKS)  # what a layout would take for something else


@dataclass(frozen=True)
class Delivery:
    """An image in the inbox, with its masks."""

    data_set: str
    category: str
    label: Label
    defect: str
    """The kind of defect; `good` for a good image."""
    image: Path
    masks: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Image and masks."""
        return (self.image, *self.masks)


@dataclass(frozen=True)
class LooseMask:
    """A mask whose image does not lie in the inbox (any more)."""

    data_set: str
    category: str
    defect: str
    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The mask."""
        return (self.path,)


@dataclass
class Contents:
    """What was found in the inbox."""

    deliveries: list[Delivery] = field(default_factory=list)
    loose_masks: list[LooseMask] = field(default_factory=list)
    misplaced: dict[Path, str] = field(default_factory=dict)
    """Why a file cannot be taken, whatever it holds."""
    waiting: dict[Path, str] = field(default_factory=dict)
    """Why a file is left for the next time."""

    @property
    def data_sets(self) -> set[str]:
        """Those that something came for."""
        return {of.data_set for of in self.deliveries} | {of.data_set for of in self.loose_masks}


def is_empty() -> bool:
    """Whether there is nothing to look at, and nothing that a killed run left to be done."""
    return next(_files(INBOX_DIR), None) is None and not JOURNAL.is_file()


def listing() -> frozenset[tuple[str, int, int]]:
    """Path, size and time of the last change of each file."""
    found = set()
    for path in _files(INBOX_DIR):
        with contextlib.suppress(OSError):  # it is gone already
            status = path.stat()
            found.add((path.as_posix(), status.st_size, status.st_mtime_ns))
    return frozenset(found)


def read_inbox(quiet_seconds: float) -> Contents:
    """List the inbox without opening an image.

    Args:
        quiet_seconds: A file that changed later than this is left for the next time, with what belongs to it.
    """
    contents = Contents()
    placed: set[Path] = set()
    for data_set in sub_folders(INBOX_DIR):
        for category in sub_folders(data_set):
            placed.update(_read_category(category, contents, quiet_seconds))
    for path in _files(INBOX_DIR):
        if path not in placed:
            _sort_out(path, f"lies in no folder that is known. Expected {EXPECTED}", contents, quiet_seconds)
    return contents


def age(path: Path) -> float:
    """Seconds since a file was written; one from the future, by a clock that is wrong, counts from its last change."""
    status, now = path.stat(), time.time()
    return now - (status.st_mtime if status.st_mtime <= now else status.st_ctime)


def _read_category(folder: Path, contents: Contents, quiet_seconds: float) -> Iterator[Path]:
    """Sort the files of one category into `contents`, and yield them."""
    deliveries, masks = [], []
    for path in _files(folder):
        top, kind = _place(path.relative_to(folder).parts)
        if not kind:
            continue
        yield path
        problem = _problem(folder.name, top, kind, path)
        is_polygons = kind != "good" and path.suffix.lower() == ".json"  # labelme's
        if problem or not (is_polygons or is_image_name(path.name)):
            _sort_out(path, problem or "is not named like an image", contents, quiet_seconds)
        elif top in _MASKS or is_polygons:
            masks.append(LooseMask(folder.parent.name, folder.name, kind, path))
        else:
            label: Label = "good" if kind == "good" else "defect"
            deliveries.append(Delivery(folder.parent.name, folder.name, label, kind, path))
    try:
        matched = [_with_masks(delivery, folder) for delivery in deliveries]
    except HarmoniadError as error:  # the name of a mask, which goes to quarantine in this run
        contents.waiting.update({delivery.image: str(error) for delivery in deliveries})
        return
    used = {mask for delivery in matched for mask in delivery.masks}
    items: list[Delivery | LooseMask] = [*matched, *(mask for mask in masks if mask.path not in used)]
    for item in items:
        hurry = _unsettled(item.files, quiet_seconds)
        if hurry:
            contents.waiting[item.files[0]] = hurry
        elif isinstance(item, Delivery):
            contents.deliveries.append(item)
        else:
            contents.loose_masks.append(item)


def _place(parts: tuple[str, ...]) -> tuple[str, str]:
    """The first folder of a category that a file lies in and the kind that it tells; nothing if it is none of ours."""
    top = parts[0].lower()
    if top == "good" and len(parts) >= 2:
        return top, "good"
    if (top == "defect" or top in _MASKS) and len(parts) >= 3:
        return top, parts[1]
    return "", ""


def _with_masks(delivery: Delivery, category: Path) -> Delivery:
    if delivery.label == "good":
        return delivery
    found = (MaskFiles(category / name / delivery.defect).of(delivery.image) for name in _MASKS)
    masks = next((masks for masks in found if masks), ())
    return Delivery(delivery.data_set, delivery.category, "defect", delivery.defect, delivery.image, masks)


def _problem(category: str, top: str, kind: str, path: Path) -> str:
    """Why a file cannot be taken for its name or that of its folders; empty if it can."""
    try:
        check_characters(path)
        check_label(category)
        check_label(kind)
    except HarmoniadError as error:
        return str(error)
    if top != "good" and kind.lower() in _NO_KINDS:
        return f"`{kind}` cannot be the name of a kind of defect"
    return ""


def _sort_out(path: Path, reason: str, contents: Contents, quiet_seconds: float) -> None:
    hurry = _unsettled((path,), quiet_seconds)
    if hurry:
        contents.waiting[path] = hurry
    else:
        contents.misplaced[path] = reason


def _unsettled(paths: tuple[Path, ...], quiet_seconds: float) -> str:
    """Why files are left for the next time; empty if they are not."""
    for path in paths:
        if path.name.lower().endswith(_UNFINISHED):
            return "is called like a file that is still being written"
        try:
            if age(path) < quiet_seconds:
                return f"changed less than {quiet_seconds:g} s ago"
        except OSError:
            return "is gone"
    return ""


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder by name, without those that are hidden, such as rsync's while it writes them."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for name in sorted(names):
            path = Path(parent, name)
            if not is_junk(name) and path.is_file():
                yield path
