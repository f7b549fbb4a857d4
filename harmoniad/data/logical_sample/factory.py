"""The logical sample: which shots it has, and what is written of each."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from harmoniad.data.logical_sample.shots import CATALOGUE, LOGICAL, STRUCTURAL, Shot, defects_config, take
from harmoniad.data.sample.writing import check_numbers, checked_categories, save_image, save_mask, write_data_set

CATEGORIES = tuple(CATALOGUE)


def generate(
    root: Path,
    *,
    seed: int = 0,
    train: int = 60,
    validation: int = 15,
    good: int = 20,
    logical: int = 28,
    structural: int = 16,
    size: int = 256,
    categories: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the data set in the layout of MVTec LOCO AD. The same arguments give the same bytes on the same machine.

    An image depends on the seed, the size, its category, its folder and its number only, never on how many others there
    are. An existing `root` is replaced at the very end; a run that fails or is killed leaves it as it was.

    Args:
        root: Folder to make.
        seed: 0 or more.
        train: Normal images a category to train on.
        validation: Normal images a category held out for the threshold.
        good: Normal images a category to test on.
        logical: Images a category that break a rule, dealt out to its rules in turn.
        structural: Damaged images a category, dealt out to its kinds of damage in turn.
        size: Side of an image in pixels.
        categories: Some of `CATEGORIES`; None for all.
        progress: Called with (images done, images in all) after each image.

    Raises:
        HarmoniadError: A category is unknown, a number is too small, `root` holds something else, or the disk is full.
    """
    chosen = checked_categories(categories, CATEGORIES)
    counts = {"train": train, "validation": validation, "good": good, "logical": logical, "structural": structural}
    check_numbers(size=size, seed=seed, **counts)
    groups = list(zip(("train", "validation", "good", LOGICAL, STRUCTURAL), counts.values(), strict=True))
    shots = [Shot(name, group, i) for name in chosen for group, count in groups for i in range(count)]

    def write(shot: Shot, folder: Path) -> None:
        picture = take(shot, seed=seed, size=size)
        save_image(picture.image, folder / shot.image_path)
        for i, mask in enumerate(picture.masks):
            save_mask(mask, folder / shot.mask_folder / f"{i:03d}.png")
        if shot.group == "train" and shot.index == 0:
            rules = json.dumps(defects_config(CATALOGUE[shot.category], size), indent=4)
            (folder / shot.category / "defects_config.json").write_text(f"{rules}\n", encoding="utf-8")

    write_data_set(root, CATEGORIES, shots, write, progress)
