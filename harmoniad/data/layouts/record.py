"""What a layout yields, and the listing of folders that all layouts share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harmoniad.errors import HarmoniadError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
_JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass(frozen=True)
class Record:
    """One image of a data set."""

    path: Path
    category: str
    split: Literal["train", "test", "by_hash"]
    """`by_hash`: a good image of a layout without a test split; the prepare stage decides."""
    label: Literal["good", "defect"]
    defect: str
    """The kind of defect; `good` for a good image."""
    mask: Path | None = None


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
        _check_characters(path)
    return paths


def is_image_name(name: str) -> bool:
    """Whether a file is named like an image."""
    return not is_junk(name) and Path(name).suffix.lower() in IMAGE_SUFFIXES


def masks_by_stem(folder: Path) -> dict[str, Path]:
    """The masks in a folder under the stem of their image: `000.png` and `000_mask.png` both belong to `000`."""
    found = {path.stem: path for path in list_images(folder)}
    named = {stem.removesuffix("_mask"): path for stem, path in found.items() if stem.endswith("_mask")}
    return found | named


def _check_characters(path: Path) -> None:
    text = str(path)
    no_utf8 = any("\ud800" <= letter <= "\udfff" for letter in text)
    # Great Expectations puts names into its pages as they are, so that an angle bracket would be run as HTML.
    if no_utf8 or any(letter < " " or letter in "<>" for letter in text):
        raise HarmoniadError(f"{text!r}: the name holds `<`, `>` or a control character, or is not UTF-8. Rename it.")
