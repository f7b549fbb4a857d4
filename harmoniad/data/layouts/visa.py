"""The layout of VisA (Zou et al., ECCV 2022) as it is downloaded.

`<category>/Data/Images/{Normal,Anomaly}/*` and `<category>/Data/Masks/Anomaly/<stem>.png`. The split is that of
`split_csv/1cls.csv` (object, split, label, image, mask); without this file the good images are split by their hash and
all others are test images.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from harmoniad.data.layouts.mask_files import MaskFiles
from harmoniad.data.layouts.record import Record, Split, list_images, listed_file, sub_folders
from harmoniad.errors import HarmoniadError

EXPECTED = (
    "split_csv/1cls.csv (optional), CATEGORY/Data/Images/Normal/*, CATEGORY/Data/Images/Anomaly/* and "
    "CATEGORY/Data/Masks/Anomaly/*"
)

SPLIT_FILE = Path("split_csv", "1cls.csv")
_COLUMNS = {"object", "split", "label", "image", "mask"}
_KIND = "anomaly"


def is_category(folder: Path) -> bool:
    """Whether the folder holds `Data/Images`."""
    return (folder / "Data" / "Images").is_dir()


def detect(root: Path) -> bool:
    """Whether `root` holds `split_csv/1cls.csv` or a category."""
    return (root / SPLIT_FILE).is_file() or any(is_category(folder) for folder in sub_folders(root))


def train_folder(category: Path) -> Path:
    """`Data/Images/Normal`."""
    return category / "Data" / "Images" / "Normal"


def read(root: Path, category: str | None = None) -> Iterator[Record]:
    """Yield the images of all categories below `root`, or of the one that is named, which is split by hash.

    Raises:
        HarmoniadError: `split_csv/1cls.csv` is not what it should be, or names files that are missing.
    """
    if category is None and (root / SPLIT_FILE).is_file():
        yield from _read_split(root)
        return
    for folder in [root / category] if category else filter(is_category, sub_folders(root)):
        images = folder / "Data" / "Images"
        for path in list_images(images / "Normal"):
            yield Record(path, folder.name, "by_hash", "good", "good")
        masks = MaskFiles(folder / "Data" / "Masks" / "Anomaly")
        for path in list_images(images / "Anomaly"):
            yield Record(path, folder.name, "test", "defect", _KIND, masks.of(path))


def _read_split(root: Path) -> Iterator[Record]:
    """Yield what the file lists, but for objects that were not downloaded."""
    here = {folder.name for folder in sub_folders(root)}
    with (root / SPLIT_FILE).open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file, skipinitialspace=True)
        if _COLUMNS - set(lines.fieldnames or ()):
            raise HarmoniadError(f"{root / SPLIT_FILE}: must have the columns {', '.join(sorted(_COLUMNS))}.")
        for line in lines:
            if line["object"] in here:
                yield _record(root, line, f"{root / SPLIT_FILE}, line {lines.line_num}")


def _record(root: Path, line: dict[str, str], where: str) -> Record:
    label, split = line["label"], line["split"]
    if label not in ("normal", _KIND) or split not in ("train", "test"):
        raise HarmoniadError(f"{where}: `{label}`, `{split}`: must be normal or anomaly, and train or test.")
    part: Split = "train" if split == "train" else "test"
    image = listed_file(root, line["image"], where)
    if label == "normal":
        return Record(image, line["object"], part, "good", "good")
    masks = (listed_file(root, line["mask"], where),) if line["mask"] else ()
    return Record(image, line["object"], part, "defect", _KIND, masks)
