"""What the manifest says of each image and mask, measured on all cores and once a file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from harmoniad.data.images import ImageError, open_image, rgb_array
from harmoniad.data.layouts.record import Record
from harmoniad.data.masks import digest, measure_masks
from harmoniad.data.scan_cache import SCAN_CACHE, ScanCache, scan, stamps_of
from harmoniad.errors import HarmoniadError
from harmoniad.files import sha256_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DECIMALS = 4  # of brightness and sharpness
STRIP = 512  # rows of an image whose sharpness is computed at once, which bounds the memory
_KIND = "measured"  # in the scan cache

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


def measure_all(records: Sequence[Record], label: str, cache_file: Path | None = SCAN_CACHE) -> list[Row]:
    """Measure images and masks on all cores, showing progress under `label`.

    Files whose size and time are those of an earlier scan are not read again. A scan that is interrupted keeps what it
    has measured, and the next one goes on from there.

    Args:
        records: What to measure.
        label: What the progress is called.
        cache_file: See `harmoniad.data.scan_cache`.

    Returns:
        A row a record, in the same order, with the measured columns of the manifest. Where an image or its mask cannot
        be decoded, `problem` says why and its figures are 0.

    Raises:
        HarmoniadError: A file cannot be read at all.
    """
    rows, known = scan(_KIND, measure, records, files_of, label, cache_file, _saturation_of)
    if known:
        print(f"{label}: {known} of {len(records)} images are unchanged since an earlier scan", file=sys.stderr)
    return rows


def remember_copies(originals: Sequence[Record], copies: Sequence[Record], folder: Path, cache_file: Path) -> None:
    """Keep what was measured of the originals for their copies in `folder` too, so that these are not read again."""
    with ScanCache(cache_file) as cache:
        for original, copy in zip(originals, copies, strict=False):
            place = copy.path.relative_to(folder).parts
            row = cache.find(_KIND, files_of(original), stamps_of(files_of(original), _saturation_of(original)))
            if row is not None and original.path.parts[-len(place) :] == place:
                cache.keep(_KIND, files_of(copy), stamps_of(files_of(copy), _saturation_of(copy)), row)


def files_of(record: Record) -> list[Path]:
    """The files that a record's row is measured from."""
    return [record.path, *record.masks]


def _saturation_of(record: Record) -> str:
    """What the row depends on beside the files."""
    return ",".join(map(str, record.saturation))


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

    pixels = np.asarray(grey)
    if min(pixels.shape) < 3:
        return 0.0
    count = total = squares = 0
    for start in range(0, len(pixels) - 2, STRIP):
        laplacian = _laplacian(pixels[start : start + STRIP + 2].astype(np.int16))
        count += laplacian.size
        total += int(laplacian.sum(dtype=np.int64))
        squares += int(np.square(laplacian, dtype=np.int32).sum(dtype=np.int64))
    return round((count * squares - total**2) / count**2, DECIMALS)


def _laplacian(pixels: "NDArray[np.int16]") -> "NDArray[np.int16]":
    neighbours = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]
    return neighbours - 4 * pixels[1:-1, 1:-1]


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
