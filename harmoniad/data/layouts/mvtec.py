"""The layout of MVTec AD (Bergmann et al., CVPR 2019).

`<category>/train/good/*`, `<category>/test/<good or defect>/*` and `<category>/ground_truth/<defect>/<stem>_mask.png`;
a mask may also be named `<stem>.png` and have any image suffix.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from harmoniad.data.layouts.record import Record, list_images, masks_by_stem, sub_folders

EXPECTED = "CATEGORY/train/good/*.png, CATEGORY/test/DEFECT/*.png and CATEGORY/ground_truth/DEFECT/*_mask.png"


def is_category(folder: Path) -> bool:
    """Whether the folder holds `train` or `test`."""
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def detect(root: Path) -> bool:
    """Whether a folder in `root` is a category."""
    return any(is_category(folder) for folder in sub_folders(root))


def train_folder(category: Path) -> Path:
    """`train/good`."""
    return category / "train" / "good"


def read(root: Path, category: str | None = None) -> Iterator[Record]:
    """Yield the images of all categories below `root`, or of the one that is named."""
    folders = [root / category] if category else sub_folders(root)
    for folder in filter(is_category, folders):
        yield from _read_split(folder, "train")
        yield from _read_split(folder, "test")


def _read_split(category: Path, split: Literal["train", "test"]) -> Iterator[Record]:
    for folder in sub_folders(category / split):
        kind = folder.name
        masks = {} if kind == "good" else masks_by_stem(category / "ground_truth" / kind)
        for path in list_images(folder):
            label: Literal["good", "defect"] = "good" if kind == "good" else "defect"
            yield Record(path, category.name, split, label, kind, masks.get(path.stem))
