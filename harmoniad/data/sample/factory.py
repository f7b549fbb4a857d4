"""The sample data set: which shots it has."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harmoniad.data.sample.shots import CATALOGUE, Shot, take
from harmoniad.data.sample.writing import check_numbers, checked_categories, save_image, save_mask, write_data_set

CATEGORIES = tuple(CATALOGUE)


def generate(
    root: Path,
    *,
    seed: int = 0,
    train: int = 60,
    good: int = 20,
    defect: int = 30,
    size: int = 256,
    categories: Sequence[str] | None = None,
    varied: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the data set in the layout of MVTec AD. The same arguments give the same bytes on the same machine.

    An image depends on the seed, the size, its category, its folder and its number only, never on how many others there
    are. An existing `root` is replaced at the very end; a run that fails or is killed leaves it as it was.

    Args:
        root: Folder to make.
        seed: 0 or more.
        train: Normal images a category to train on.
        good: Normal images a category to test on.
        defect: Defective images a category, dealt out to its kinds of defect in turn.
        size: Side of an image in pixels.
        categories: Some of `CATEGORIES`; None for all.
        varied: Parts lie at any angle and their material differs from one to the next.
        progress: Called with (images done, images in all) after each image.

    Raises:
        HarmoniadError: A category is unknown, a number is too small, `root` holds something else, or the disk is full.
    """
    chosen = checked_categories(categories, CATEGORIES)
    check_numbers(size=size, train=train, good=good, defect=defect, seed=seed)
    shots = [shot for name in chosen for shot in _shots(name, train=train, good=good, defect=defect)]

    def write(shot: Shot, folder: Path) -> None:
        picture = take(shot, seed=seed, size=size, varied=varied)
        save_image(picture.image, folder / shot.image_path)
        if picture.mask is not None:
            save_mask(picture.mask, folder / shot.mask_path)

    write_data_set(root, CATEGORIES, shots, write, progress)


def _shots(name: str, *, train: int, good: int, defect: int) -> Iterator[Shot]:
    kinds = CATALOGUE[name].kinds
    yield from (Shot(name, "train", i) for i in range(train))
    yield from (Shot(name, "good", i) for i in range(good))
    yield from (Shot(name, kinds[i % len(kinds)], i // len(kinds)) for i in range(defect))
