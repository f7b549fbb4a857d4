"""What a layout yields, and the listing of folders that all layouts share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harmoniad.data.saturation import Saturation
from harmoniad.errors import HarmoniadError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
_JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx"})

Split = Literal["train", "held_out", "test", "by_hash"]
Label = Literal["good", "defect"]


@dataclass(frozen=True)
class Record:
    """One image of a data set."""

    path: Path
    category: str
    split: Split
    """`held_out`: of the data set's own validation split; `by_hash`: a good image of a layout without a test split, for
    which the prepare stage decides."""
    label: Label
    defect: str
    """The kind of defect; `good` for a good image."""
    masks: tuple[Path, ...] = ()
    """Image files or labelme's JSON; what any of them marks is defective."""
    view: str = ""
    """Which camera took it, where a part is seen by several."""
    group: str = ""
    """`structural` or `logical` where the data set tells these apart."""
    saturation: tuple[Saturation, ...] = ()
    """From how many found pixels on a region is found: for all masks, for each, or for each grey value of a mask."""


def is_junk(name: str) -> bool:
    """Whether a file or folder is hidden or was left behind by an operating system."""
    return name.startswith(".") or name.lower() in _JUNK


def sub_folders(folder: Path) -> list[Path]:
    """The folders in a folder by name, without hidden ones; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_junk(path.name) and path.is_dir())


def list_images(folder: Path) -> list[Path]:
    """The files in a folder that are named like an image, by name; none if there is no such folder.

    Raises:
        HarmoniadError: A name holds characters that tables or pages cannot show.
    """
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.iterdir() if is_image_name(path.name) and path.is_file())
    for path in paths:
        check_characters(path)
    return paths


def is_image_name(name: str) -> bool:
    """Whether a file is named like an image."""
    return not is_junk(name) and Path(name).suffix.lower() in IMAGE_SUFFIXES


def check_characters(path: Path) -> None:
    """Refuse names that tables or pages cannot show.

    Raises:
        HarmoniadError: The name is one of these.
    """
    text = str(path)
    no_utf8 = any("\ud800" <= letter <= "\udfff" for letter in text)
    # Great Expectations puts names into its pages as they are, so that an angle bracket would be run as HTML.
    if no_utf8 or any(letter < " " or letter in "<>" for letter in text):
        raise HarmoniadError(f"{text!r}: the name holds `<`, `>` or a control character, or is not UTF-8. Rename it.")


def check_label(text: str) -> None:
    """Refuse categories and kinds of defects that cannot be part of a file's name or be shown on a page.

    Raises:
        HarmoniadError: The text is one of these.
    """
    if not text.strip() or text.startswith(".") or any(letter < " " or letter in "<>/\\" for letter in text):
        raise HarmoniadError(
            f"{text!r} cannot be the name of a category or defect: no `/`, `\\`, `<`, `>`, no dot first"
        )


def listed_file(root: Path, name: str, where: str) -> Path:
    """A file below `root` that a list names with a relative path.

    Args:
        root: The folder that the path starts at.
        name: The path.
        where: The list and the line in it, for errors.

    Raises:
        HarmoniadError: There is no such file, or the path leads out of `root`.
    """
    path = root / name
    check_characters(path)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise HarmoniadError(f"{where}: {name}: must be a path within {root}.")
    if not path.is_file():
        raise HarmoniadError(f"{where}: {name}: no such file.")
    return path
