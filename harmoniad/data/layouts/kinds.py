"""Reading a split: a folder of good images beside a folder for each kind of defect."""

from collections.abc import Collection, Iterator
from pathlib import Path

from harmoniad.data.layouts.mask_files import MaskFiles
from harmoniad.data.layouts.record import Record, Split, list_images, sub_folders


def read_kinds(
    folder: Path, category: str, split: Split, masks: Path, good: Collection[str] = ("good",)
) -> Iterator[Record]:
    """Yield the images of a split.

    Args:
        folder: Of the split, with a folder for each kind.
        category: Its category.
        split: The split.
        masks: The folder that holds a folder of masks for each kind of defect.
        good: How the folder of good images may be called, in lower case.
    """
    for kind in sub_folders(folder):
        if kind.name.lower() in good:
            yield from read_good(kind, category, split)
        elif kind != masks:
            found = MaskFiles(masks / kind.name)
            for path in list_images(kind):
                yield Record(path, category, split, "defect", kind.name, found.of(path))


def read_good(folder: Path, category: str, split: Split) -> Iterator[Record]:
    """Yield the good images of a folder."""
    for path in list_images(folder):
        yield Record(path, category, split, "good", "good")
