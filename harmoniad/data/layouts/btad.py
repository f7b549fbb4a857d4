"""The layout of BTAD (Mishra et al., ISIE 2021), in which images and masks are bmp and png mixed.

`<category>/train/ok/*`, `<category>/test/ok/*`, `<category>/test/ko/*` and `<category>/ground_truth/ko/<stem>.*`.
"""

from collections.abc import Iterator
from pathlib import Path

from harmoniad.data.layouts.kinds import read_good, read_kinds
from harmoniad.data.layouts.record import Record, sub_folders

EXPECTED = "CATEGORY/train/ok/*, CATEGORY/test/ok/*, CATEGORY/test/ko/* and CATEGORY/ground_truth/ko/*"


def is_category(folder: Path) -> bool:
    """Whether the folder holds `train/ok`, or at least `test/ko` and no `train/good`."""
    if (folder / "train" / "good").is_dir():
        return False
    return (folder / "train" / "ok").is_dir() or (folder / "test" / "ko").is_dir()


def detect(root: Path) -> bool:
    """Whether a folder in `root` is a category."""
    return any(is_category(folder) for folder in sub_folders(root))


def train_folder(category: Path) -> Path:
    """`train/ok`."""
    return category / "train" / "ok"


def read(root: Path, category: str | None = None) -> Iterator[Record]:
    """Yield the images of all categories below `root`, or of the one that is named."""
    folders = [root / category] if category else sub_folders(root)
    for folder in filter(is_category, folders):
        masks = folder / "ground_truth"
        yield from read_kinds(folder / "train", folder.name, "train", masks, good=("ok",))
        yield from read_good(folder / "validation" / "ok", folder.name, "held_out")
        yield from read_kinds(folder / "test", folder.name, "test", masks, good=("ok",))
