"""Write the sample data set: check what is asked for, take every shot, and put the folder in place in one step."""

import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from PIL import Image

from harmoniad.data.sample.shots import CATALOGUE, Picture, Shot, take
from harmoniad.errors import HarmoniadError
from harmoniad.files import replacing_folder

CATEGORIES = tuple(CATALOGUE)
SMALLEST_SIZE = 64


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
    chosen = _checked_categories(categories)
    _check_numbers(seed=seed, train=train, good=good, defect=defect, size=size)
    _check_replaceable(root)
    root = root.resolve()
    _remove_leftovers(root)
    shots = [shot for name in chosen for shot in _shots(name, train=train, good=good, defect=defect)]
    with replacing_folder(root) as folder:
        for shot in shots:
            (folder / shot.image_path).parent.mkdir(parents=True, exist_ok=True)
            if shot.has_defect:
                (folder / shot.mask_path).parent.mkdir(parents=True, exist_ok=True)
        _write_all(shots, folder, partial(take, seed=seed, size=size, varied=varied), progress)


def _checked_categories(categories: Sequence[str] | None) -> list[str]:
    chosen = list(CATEGORIES if categories is None else dict.fromkeys(categories))
    for name in chosen:
        if name not in CATALOGUE:
            raise HarmoniadError(f"unknown category {name!r} of the sample: choose from {', '.join(CATEGORIES)}")
    if not chosen:
        raise HarmoniadError(f"no category of the sample is chosen: choose from {', '.join(CATEGORIES)}")
    return chosen


def _check_numbers(*, size: int, train: int, good: int, defect: int, seed: int) -> None:
    if size < SMALLEST_SIZE:
        raise HarmoniadError(
            f"size {size} is too small for the sample: faint defects vanish; use {SMALLEST_SIZE} or more"
        )
    for name, number, least in (("seed", seed, 0), ("train", train, 1), ("good", good, 0), ("defect", defect, 0)):
        if number < least:
            raise HarmoniadError(f"{name} {number} is too small for the sample: use {least} or more")


def _check_replaceable(root: Path) -> None:
    """Refuse to replace what this factory did not make."""
    if not root.exists():
        return
    if not root.is_dir():
        raise HarmoniadError(f"{root}: is a file; name a folder for the sample")
    foreign = sorted(entry.name for entry in root.iterdir() if entry.name not in CATALOGUE)
    if foreign:
        raise HarmoniadError(
            f"{root}: holds {foreign[0]!r}, which is not of the sample; move it or name another folder"
        )


def _remove_leftovers(root: Path) -> None:
    """Clear away what killed runs left beside `root`; one killed between its two last renames left the old data."""
    if not root.parent.is_dir():
        return
    for leftover in sorted(root.parent.iterdir()):
        if not leftover.name.startswith(f".{root.name}.") or ".tmp" not in leftover.name:
            continue
        if leftover.name.endswith(".old") and not root.exists():
            leftover.rename(root)
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


def _shots(name: str, *, train: int, good: int, defect: int) -> Iterator[Shot]:
    kinds = CATALOGUE[name].kinds
    yield from (Shot(name, "train", i) for i in range(train))
    yield from (Shot(name, "good", i) for i in range(good))
    yield from (Shot(name, kinds[i % len(kinds)], i // len(kinds)) for i in range(defect))


def _write_all(
    shots: Sequence[Shot],
    folder: Path,
    take_one: Callable[[Shot], Picture],
    progress: Callable[[int, int], None] | None,
) -> None:
    # Threads suffice: nearly all the time goes to numpy, scipy and Pillow, which release the interpreter lock.
    with ThreadPoolExecutor(_available_cores()) as pool:
        waiting = [pool.submit(_write, shot, folder, take_one) for shot in shots]
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                future.result()
                if progress is not None:
                    progress(done, len(shots))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _write(shot: Shot, folder: Path, take_one: Callable[[Shot], Picture]) -> None:
    picture = take_one(shot)
    # Noise does not repeat itself: without the search for repetitions files are smaller and written faster.
    Image.fromarray(picture.image).save(folder / shot.image_path, compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)
    if picture.mask is not None:
        Image.fromarray(picture.mask).save(folder / shot.mask_path)
