"""What the manifest says of each image and mask, measured on all cores."""

import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from harmoniad.data.images import ImageError, open_image, rgb_array
from harmoniad.data.layouts.record import Record
from harmoniad.data.masks import digest, measure_masks
from harmoniad.errors import HarmoniadError
from harmoniad.files import sha256_file
from harmoniad.progress import Progress

DECIMALS = 4  # of brightness and sharpness

Row = dict[str, str | int | float]

_UNMEASURED: Row = {
    "sha256": "",
    "mask_sha256": "",
    "width": 0,
    "height": 0,
    "mode": "",
    "brightness": 0.0,
    "sharpness": 0.0,
    "phash": "",
    "mask_width": 0,
    "mask_height": 0,
    "mask_area": 0,
    "mask_values": 0,
    "saturation": "",
    "problem": "",
}


def measure_all(records: Sequence[Record], label: str) -> list[Row]:
    """Measure images and masks in threads (decoding frees the interpreter lock), showing progress under `label`.

    Returns:
        A row a record, in the same order, with the measured columns of the manifest. Where an image or its mask cannot
        be decoded, `problem` says why and its figures are 0.
    """
    with (
        warnings.catch_warnings(),
        Progress(label, len(records), "images") as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        warnings.simplefilter("ignore")  # Pillow warns of large images and odd metadata, which `problem` covers
        return list(_counted(pool.map(measure, records), progress))


def _counted(rows: Iterable[Row], progress: Progress) -> Iterable[Row]:
    for row in rows:
        progress.advance()
        yield row


def measure(record: Record) -> Row:
    """Measure one image and its mask; see `measure_all`.

    Raises:
        HarmoniadError: A file cannot be read at all.
    """
    row = _UNMEASURED | {"sha256": _sha256(record.path)}
    try:
        row |= _measure_image(record.path)
    except ImageError as error:
        row["problem"] = error.reason
    if not record.masks:
        return row
    try:
        row["mask_sha256"] = digest(record)
        row |= measure_masks(record, int(row["width"]), int(row["height"]))
    except ImageError as error:
        row["problem"] = row["problem"] or f"its mask {error}"
    return row


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise HarmoniadError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _measure_image(path: Path) -> Row:
    image = open_image(path)
    simple = image if image.mode in ("L", "RGB") else Image.fromarray(rgb_array(image, path))
    grey = simple.convert("L")
    return {
        "width": image.width,
        "height": image.height,
        "mode": image.mode,
        "brightness": brightness(grey),
        "sharpness": sharpness(grey),
        "phash": perceptual_hash(grey),
    }


def brightness(grey: Image.Image) -> float:
    """Mean grey value, 0 to 255."""
    import numpy as np

    return round(float(np.asarray(grey).mean()), DECIMALS)


def sharpness(grey: Image.Image) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al., ICPR 2000), over the pixels that have four neighbours."""
    import numpy as np

    pixels = np.asarray(grey).astype(np.int16)
    if min(pixels.shape) < 3:
        return 0.0
    neighbours = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]
    return round(float((neighbours - 4 * pixels[1:-1, 1:-1]).var()), DECIMALS)


def perceptual_hash(grey: Image.Image) -> str:
    """The 256-bit perceptual hash: which of the 16×16 lowest frequencies of the 64×64 thumbnail exceed their median.

    The usual 64 bits cannot tell apart parts that always lie in the same place in a fixture. The discrete cosine
    transform is rounded, so that a uniform image does not hash its rounding errors.
    """
    import numpy as np
    from scipy.fft import dctn

    thumbnail = np.asarray(grey.resize((64, 64), Image.Resampling.LANCZOS), dtype=np.float64)
    low = dctn(thumbnail)[:16, :16].round(3)
    return np.packbits(low > np.median(low)).tobytes().hex()
