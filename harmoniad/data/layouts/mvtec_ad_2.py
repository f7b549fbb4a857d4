"""The layout of MVTec AD 2 (Heckler-Kram et al., 2025), of which the public test part has labels and masks.

`<category>/train/good/*`, `<category>/validation/good/*`, `<category>/test_public/{good,bad}/*` and
`<category>/test_public/ground_truth/bad/<stem>_mask.png`. `test_private` and `test_private_mixed` have no labels and
are not read.
"""

from collections.abc import Iterator
from pathlib import Path

from harmoniad.data.layouts.kinds import read_good, read_kinds
from harmoniad.data.layouts.record import Record, sub_folders

EXPECTED = (
    "CATEGORY/train/good/*.png, CATEGORY/validation/good/*.png, CATEGORY/test_public/bad/*.png and "
    "CATEGORY/test_public/ground_truth/bad/*_mask.png"
)


def is_category(folder: Path) -> bool:
    """Whether the folder holds `test_public`."""
    return (folder / "test_public").is_dir()


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
        test = folder / "test_public"
        yield from read_good(folder / "train" / "good", folder.name, "train")
        yield from read_good(folder / "validation" / "good", folder.name, "held_out")
        yield from read_kinds(test, folder.name, "test", test / "ground_truth")
