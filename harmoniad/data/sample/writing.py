"""Write a generated data set: check what is asked for, take every shot, and put the folder in place in one step."""

import os
import shutil
import zlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from harmoniad.errors import HarmoniadError
from harmoniad.files import replacing_folder

SMALLEST_SIZE = 64
Shot = TypeVar("Shot")


def checked_categories(chosen: Sequence[str] | None, there_are: Sequence[str]) -> list[str]:
    """The categories to make, each once; None for all.

    Raises:
        HarmoniadError: One is unknown, or none is chosen.
    """
    names = list(there_are if chosen is None else dict.fromkeys(chosen))
    for name in names:
        if name not in there_are:
            raise HarmoniadError(f"unknown category {name!r} of the sample: choose from {', '.join(there_are)}")
    if not names:
        raise HarmoniadError(f"no category of the sample is chosen: choose from {', '.join(there_are)}")
    return names


def check_numbers(*, size: int, train: int, **others: int) -> None:
    """Refuse a size at which defects vanish, no image to train on, and anything else that is negative.

    Raises:
        HarmoniadError: A number is too small.
    """
    if size < SMALLEST_SIZE:
        raise HarmoniadError(
            f"size {size} is too small for the sample: faint defects vanish; use {SMALLEST_SIZE} or more"
        )
    for name, number, least in (("train", train, 1), *((name, number, 0) for name, number in others.items())):
        if number < least:
            raise HarmoniadError(f"{name} {number} is too small for the sample: use {least} or more")


def write_data_set(
    root: Path,
    own: Collection[str],
    shots: Sequence[Shot],
    write: Callable[[Shot, Path], None],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make a folder out of shots. An existing one is replaced at the very end; a run that fails leaves it as it was.

    Args:
        root: Folder to make.
        own: The names that it may hold if it exists.
        shots: The images to take, in any order.
        write: Takes one and writes what comes of it below the folder that it is given.
        progress: Called with (images done, images in all) after each image.

    Raises:
        HarmoniadError: `root` holds something else, or the disk is full.
    """
    _check_replaceable(root, own)
    root = root.resolve()
    _remove_leftovers(root)
    # Threads suffice: nearly all the time goes to numpy, scipy and Pillow, which release the interpreter lock.
    with replacing_folder(root) as folder, ThreadPoolExecutor(_available_cores()) as pool:
        waiting = [pool.submit(write, shot, folder) for shot in shots]
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                future.result()
                if progress is not None:
                    progress(done, len(shots))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def save_image(image: np.ndarray, path: Path) -> None:
    """Write a noisy image (h, w, 3) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Noise does not repeat itself: without the search for repetitions files are smaller and written faster.
    Image.fromarray(image).save(path, compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)


def save_mask(mask: np.ndarray, path: Path) -> None:
    """Write a mask (h, w) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def _check_replaceable(root: Path, own: Collection[str]) -> None:
    """Refuse to replace what this factory did not make."""
    if not root.exists():
        return
    if not root.is_dir():
        raise HarmoniadError(f"{root}: is a file; name a folder for the sample")
    foreign = sorted(entry.name for entry in root.iterdir() if entry.name not in own)
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


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
