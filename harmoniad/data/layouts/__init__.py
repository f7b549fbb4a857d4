"""Layouts: how the folders of a data set tell category, split, kind of defect and mask.

A layout is a module with the members of `Layout`. A new one is added to `LAYOUTS` and nowhere else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harmoniad.data.layouts import btad, folder, manifest, mvtec, mvtec_ad_2, mvtec_loco, real_iad, visa
from harmoniad.data.layouts.record import Record, is_image_name, sub_folders
from harmoniad.errors import HarmoniadError

__all__ = ["LAYOUTS", "Layout", "Recognised", "Record", "layout_named", "recognise"]


class Layout(Protocol):
    """What every layout module offers."""

    EXPECTED: str
    """The folders of this layout in one line, for error messages."""

    def is_category(self, folder: Path) -> bool:
        """Whether `folder` is one category in this layout."""

    def detect(self, root: Path) -> bool:
        """Whether `root` is a folder of categories in this layout."""

    def read(self, root: Path, category: str | None = None) -> Iterator[Record]:
        """Yield the images of all categories below `root`, or of the one that is named."""

    def train_folder(self, category: Path) -> Path:
        """Where the good training images of a category are expected."""


LAYOUTS: dict[str, Layout] = {
    "manifest": manifest,
    "real_iad": real_iad,
    "visa": visa,
    "mvtec_loco": mvtec_loco,
    "mvtec_ad_2": mvtec_ad_2,
    "btad": btad,
    "mvtec": mvtec,
    "folder": folder,
}
"""All layouts, in the order in which they are tried: the special before the general."""

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".7z", ".rar")


@dataclass(frozen=True)
class Recognised:
    """A layout that fits a folder."""

    name: str
    single_category: bool
    """The folder is itself one category, not a folder of categories."""

    @property
    def layout(self) -> Layout:
        """The layout's module."""
        return LAYOUTS[self.name]


def layout_named(name: str) -> Layout:
    """The layout of that name.

    Raises:
        HarmoniadError: There is none.
    """
    if name not in LAYOUTS:
        raise HarmoniadError(f"unknown layout `{name}`. There are: {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]


def recognise(root: Path, name: str | None = None) -> Recognised:
    """Find the layout that fits the folder `root`, or the manifest; with `name`, only that one is tried.

    Raises:
        HarmoniadError: The name is unknown or nothing fits; the message tells what is there and what is expected.
    """
    candidates = {name: layout_named(name)} if name else LAYOUTS
    found = _fitting(root, candidates)
    if found:
        return found
    seen = ", ".join(folder.name for folder in sub_folders(root)[:5]) or "no folders"
    expected = "; ".join(f"{key}: {layout.EXPECTED}" for key, layout in candidates.items())
    raise HarmoniadError(f"{root}: no known layout, it holds {seen}. {_advice(root, name)}Expected {expected}.")


def _fitting(root: Path, candidates: dict[str, Layout]) -> Recognised | None:
    for single in (True, False):  # a single category first: its `train` and `test` look like categories otherwise
        for key, layout in candidates.items():
            if layout.is_category(root) if single else layout.detect(root):
                return Recognised(key, single)
    return None


def _advice(root: Path, name: str | None) -> str:
    """What is probably meant, if that can be told."""
    other = _fitting(root, LAYOUTS) if name else None
    if other:
        return f"It looks like {other.name}: leave out --layout. "
    for child in sub_folders(root)[:20]:
        for inner in (child, *sub_folders(child)[:20]):
            found = _fitting(inner, LAYOUTS)
            if found:
                return f"{inner} looks like {found.name}: give that folder. "
    files = sorted(path for path in root.iterdir() if path.is_file()) if root.is_dir() else []
    for file in files:
        if file.suffix.lower() in manifest.SUFFIXES:
            return f"If {file.name} is a manifest, give the file itself. "
        if file.suffix.lower() in _ARCHIVES:
            return f"Unpack {file.name} first. "
    loose = sum(is_image_name(file.name) for file in files)
    if loose:
        return f"It holds {loose} images by themselves: put the good ones into a folder `good`, or write a manifest. "
    return ""
