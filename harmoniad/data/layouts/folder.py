"""The simplest layout: a folder of good images and a folder for each kind of defect.

`<category>/good/*` (or `ok`, `normal`), `<category>/<defect>/*` and, where there are masks,
`<category>/masks/<defect>/*`, named as `MaskFiles` says; `ground_truth` is taken for `masks` too. There is no test
split: all defects are test images, and the prepare stage splits the good ones by their hash. Good images in
`<category>/good_train/*` are never test images: that is where `harmoniad ingest` puts those that come in later.
"""

from collections.abc import Iterator
from pathlib import Path

from harmoniad.data.layouts.kinds import read_good
from harmoniad.data.layouts.mask_files import MaskFiles
from harmoniad.data.layouts.record import Record, list_images, sub_folders

EXPECTED = "CATEGORY/good/*.png, CATEGORY/DEFECT/*.png and, if there are masks, CATEGORY/masks/DEFECT/*.png"

TRAIN_ONLY = "good_train"

_GOOD = ("good", "ok", "normal")  # in lower case
_MASK_FOLDERS = ("masks", "ground_truth")


def is_category(folder: Path) -> bool:
    """Whether the folder holds `good`, `ok` or `normal`, or good images that came in later."""
    return any(kind.name.lower() in (*_GOOD, TRAIN_ONLY) for kind in sub_folders(folder))


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
            if kind.name.lower() in _GOOD:
                yield from read_good(kind, folder.name, "by_hash")
            elif kind.name == TRAIN_ONLY:
                yield from read_good(kind, folder.name, "train")
            elif kind.name not in _MASK_FOLDERS:
                yield from _read_defect(folder, kind)


def _read_defect(category: Path, kind: Path) -> Iterator[Record]:
    folders = [MaskFiles(category / name / kind.name) for name in _MASK_FOLDERS]
    for path in list_images(kind):
        masks = next((found for folder in folders if (found := folder.of(path))), ())
        yield Record(path, category.name, "test", "defect", kind.name, masks)
