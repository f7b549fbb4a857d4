"""The layout of MVTec AD (Bergmann et al., CVPR 2019).

`<category>/train/good/*`, `<category>/test/<good or defect>/*` and `<category>/ground_truth/<defect>/<stem>_mask.png`;
for other names of masks, see `MaskFiles`. Good images in `<category>/validation/good` are held out for the threshold.
"""

from collections.abc import Iterator
from pathlib import Path

from harmoniad.data.layouts.kinds import read_good, read_kinds
from harmoniad.data.layouts.record import Record, sub_folders

EXPECTED = "CATEGORY/train/good/*.png, CATEGORY/test/DEFECT/*.png and CATEGORY/ground_truth/DEFECT/*_mask.png"

_VALIDATION = ("validation", "val")


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
        masks = folder / "ground_truth"
        yield from read_kinds(folder / "train", folder.name, "train", masks)
        for name in _VALIDATION:
            yield from read_good(folder / name / "good", folder.name, "held_out")
        yield from read_kinds(folder / "test", folder.name, "test", masks)
