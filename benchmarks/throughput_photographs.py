"""The photographs that all contenders get: a folder's, or squares cut from scikit-image's own."""

import argparse
import sys
from pathlib import Path

TRAIN_IMAGES = 80  # enough patches for a memory of 5000 to be thinned out from, with a tenth of the images kept back


def photographs(arguments: argparse.Namespace, cache: Path) -> tuple[list[str], list[str]]:
    """JPEG files to score, and others to learn from."""
    if arguments.photographs:
        found = sorted(str(path) for path in arguments.photographs.rglob("*.jpg"))
        if len(found) < arguments.images + TRAIN_IMAGES:
            sys.exit(f"{arguments.photographs}: {arguments.images + TRAIN_IMAGES} JPEG files are wanted.")
        step = len(found) // (arguments.images + TRAIN_IMAGES)
        found = found[::step][: arguments.images + TRAIN_IMAGES]
        return found[: arguments.images], found[arguments.images :]
    folder = cache / f"photographs-{arguments.side}"
    count = arguments.images + TRAIN_IMAGES
    if not (folder / f"{count - 1:04}.jpg").is_file():
        make_photographs(folder, count, arguments.side)
    made = [str(folder / f"{number:04}.jpg") for number in range(count)]
    return made[TRAIN_IMAGES:], made[:TRAIN_IMAGES]


def make_photographs(folder: Path, count: int, side: int) -> None:
    """Cut squares at random from scikit-image's photographs."""
    import numpy as np
    from PIL import Image
    from skimage import data

    names = ("coffee", "astronaut", "chelsea", "rocket", "brick", "grass", "gravel")
    pictures = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in names]
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = pictures[number % len(pictures)]
        length = int(min(picture.size) * generator.uniform(0.6, 1.0))
        left = int(generator.integers(picture.width - length + 1))
        top = int(generator.integers(picture.height - length + 1))
        square = picture.crop((left, top, left + length, top + length)).resize((side, side), Image.Resampling.LANCZOS)
        square.save(folder / f"{number:04}.jpg", quality=90)
