"""The simplest layout: a folder of good images and a folder for each kind of defect.

`<category>/good/*`, `<category>/<defect>/*` and, where there are masks, `<category>/masks/<defect>/<stem>_mask.png` or
`<stem>.png`, with any image suffix; `ground_truth` is taken for `masks` too. There is no test split: all defects are
test images, and the prepare stage splits the good ones by their hash.
"""

from collections.abc import Iterator
from pathlib import Path

from harmoniad.data.layouts.record import Record, list_images, masks_by_stem, sub_folders

EXPECTED = "CATEGORY/good/*.png, CATEGORY/DEFECT/*.png and, if there are masks, CATEGORY/masks/DEFECT/*.png"

_MASK_FOLDERS = ("masks", "ground_truth")


def is_category(folder: Path) -> bool:
    """Whether the folder holds `good`."""
    return (folder / "good").is_dir()


def detect(root: Path) -> bool:
    """Whether a folder in `root` is a category."""
    return any(is_category(folder) for folder in sub_folders(root))


def train_folder(category: Path) -> Path:
    """`good`."""
    return category / "good"


def read(root: Path, category: str | None = None) -> Iterator[Record]:
    """Yield the images of all categories below `root`, or of the one that is named.

    A category without `good` is read too, so that validation can name it.
    """
    folders = [root / category] if category else sub_folders(root)
    for folder in folders:
        for kind in sub_folders(folder):
            if kind.name == "good":
                yield from (Record(path, folder.name, "by_hash", "good", "good") for path in list_images(kind))
            elif kind.name not in _MASK_FOLDERS:
                yield from _read_defect(folder, kind)


def _read_defect(category: Path, kind: Path) -> Iterator[Record]:
    masks: dict[str, Path] = {}
    for name in reversed(_MASK_FOLDERS):
        masks |= masks_by_stem(category / name / kind.name)
    for path in list_images(kind):
        yield Record(path, category.name, "test", "defect", kind.name, masks.get(path.stem))
