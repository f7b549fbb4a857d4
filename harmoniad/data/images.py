"""Decoding images and masks that come from anywhere: whatever a file holds, it is an array or one clear error."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from harmoniad.errors import HarmoniadError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # by content, whatever the file is called
MAX_PIXELS = 100_000_000
MAX_SIDE = 65_535  # what JPEG can hold; an image of 100,000,000 × 1 would be cut into a quarter of a million tiles
MAX_SCANS = 100  # of a progressive JPEG, each of which costs as much as a whole image; cameras write about ten

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF", *_TIFF)
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_STRIP = 512  # rows that are converted at once: an image of 20 megapixels as float64 takes 160 MB
_ORIENTATION = 0x0112  # EXIF tag
_START_OF_SCAN, _BLOCK = b"\xff\xda", 1 << 20  # a marker of JPEG; how much is searched for it at once
_BITS, _PLANES, _SEPARATE = 258, 284, 2  # TIFF tags, and a value of the second
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF tags
_DETOUR = {"P": "RGBA", "PA": "RGBA", "La": "LA"}  # modes with transparency that Pillow cannot turn into RGB at once


class ImageError(HarmoniadError):
    """An image that cannot be used; `reason` says why without the file's name."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def open_image(path: Path, content: bytes | None = None, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image in the mode that it is stored in, turned upright as its EXIF data says.

    Of a file with several pages or frames, the first is taken.

    Args:
        path: The file; where `content` is given, only the name that an error says.
        content: What the file holds, where it does not lie on disk.
        max_pixels: An image with more is refused before it is decoded.

    Raises:
        ImageError: The file is missing, empty, truncated, too large or not an image of one of `FORMATS`.
    """
    try:
        with _source(path, content) as source, Image.open(source, formats=FORMATS) as image:
            _refuse_too_large(image, path, max_pixels)
            _refuse_deep_planes(image, path)
            _refuse_large_tiles(image, path, max_pixels)
            _refuse_many_scans(image, source, path)
            image.load()
            return ImageOps.exif_transpose(image)
    except ImageError:
        raise
    except Exception as error:  # a damaged file makes the decoders raise almost anything
        raise ImageError(path, _reason(path, content, error)) from error


def _source(path: Path, content: bytes | None) -> BinaryIO:
    # Not the path itself: Pillow 13 maps uncompressed TIFF files into memory and garbles those that EXIF turns.
    if content is not None:
        return io.BytesIO(content)
    if path.exists() and not path.is_file():  # a pipe would be waited for, for ever
        raise ImageError(path, "is not a file")
    return path.open("rb")


def _refuse_too_large(image: Image.Image, path: Path, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ImageError(path, f"is too large (more than {max_pixels / 1_000_000:g} million pixels)")
    if max(image.size) > MAX_SIDE:
        raise ImageError(path, f"is too long ({image.width} × {image.height}; more than {MAX_SIDE} pixels a side)")


def _refuse_many_scans(image: Image.Image, source: BinaryIO, path: Path) -> None:
    """Refuse a progressive JPEG that is small on disk and takes minutes, because it has thousands of scans."""
    if image.format not in ("JPEG", "MPO") or not image.info.get("progressive"):
        return
    position = source.tell()
    source.seek(0)
    scans, end = 0, b""
    while block := source.read(_BLOCK):
        scans += (end + block).count(_START_OF_SCAN)
        end = block[-1:]
    source.seek(position)
    if scans > MAX_SCANS:
        raise ImageError(path, f"is a progressive JPEG of more than {MAX_SCANS} scans; save it anew")


def _refuse_deep_planes(image: Image.Image, path: Path) -> None:
    """Refuse what Pillow 13 reads without an error, but wrongly."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANES) == _SEPARATE and any(bits > 8 for bits in tags.get(_BITS, ())):
        raise ImageError(path, "is a TIFF of more than 8 bits with separate planes of colour; save it interleaved")


def _refuse_large_tiles(image: Image.Image, path: Path, max_pixels: int) -> None:
    """Refuse a TIFF that says it is small, and has a tile of a thousand megapixels, which is decoded as a whole."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_LENGTH, 0) > max_pixels:
        raise ImageError(path, f"is a TIFF with tiles of more than {max_pixels / 1_000_000:g} million pixels")


def load_rgb(path: Path, content: bytes | None = None, *, max_pixels: int = MAX_PIXELS) -> "NDArray[np.uint8]":
    """Decode an image as (H, W, 3) uint8; transparency is dropped. For the arguments, see `open_image`.

    Raises:
        ImageError: See `open_image`, or the grey values of a deep image are out of range.
    """
    return rgb_array(open_image(path, content, max_pixels=max_pixels), path)


def rgb_array(image: Image.Image, path: Path) -> "NDArray[np.uint8]":
    """A decoded image as (H, W, 3) uint8; `path` names it in an error.

    Grey images of more than 8 bits are scaled by a fixed factor and never by their own range, so that a dark part stays
    dark: 16-bit and 32-bit integers from 0..65535; floats from 0..1, 0..255 or 0..65535, the smallest that holds them.
    """
    import numpy as np

    if image.mode in _DEEP_MODES:
        grey = _eight_bits(np.asarray(image), image.mode, path)
        return np.repeat(grey[:, :, None], 3, axis=2)
    try:
        if image.mode in _DETOUR:
            image = image.convert(_DETOUR[image.mode])
        # Without need no copy: one of 100 megapixels takes 400 MB.
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except ValueError as error:
        raise ImageError(path, f"its colours cannot be converted to RGB (mode {image.mode})") from error


def mask_values(path: Path) -> "NDArray[np.generic]":
    """Decode a mask as (H, W) grey values as they are stored; of a colour image, the largest channel counts.

    What is fully transparent is black.

    Raises:
        ImageError: See `open_image`.
    """
    import numpy as np

    image = open_image(path)
    if image.mode in ("1", "L", *_DEEP_MODES):
        return np.array(image)
    values = rgb_array(image, path).max(axis=2)
    if image.has_transparency_data:
        values[np.array(image.convert(_DETOUR.get(image.mode, "RGBA")).getchannel("A")) == 0] = 0
    return values


def turn_as(values: "NDArray[np.generic]", path: Path) -> "NDArray[np.generic]":
    """Turn an array (H, W) from the way in which an image is stored to that in which it is shown.

    Args:
        values: Something that was drawn on the stored pixels.
        path: The image, whose EXIF data says how it is turned; without, nothing is.

    Raises:
        ImageError: See `open_image`.
    """
    import numpy as np

    try:
        with path.open("rb") as source, Image.open(source, formats=FORMATS) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception as error:
        raise ImageError(path, _reason(path, None, error)) from error
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(values[rows, columns])


def _eight_bits(values: "NDArray[np.generic]", mode: str, path: Path) -> "NDArray[np.uint8]":
    import numpy as np

    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535):  # NaN fails too
        raise ImageError(path, f"its grey values lie outside of 0..65535 (mode {mode})")
    full_scale = next(scale for scale in (1, 255, 65535) if high <= scale) if mode == "F" else 65535
    grey = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), _STRIP):
        strip = slice(row, row + _STRIP)
        grey[strip] = np.rint(values[strip].astype(np.float64) * (255 / full_scale))
    return grey


def _reason(path: Path, content: bytes | None, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"is too large (more than {MAX_PIXELS // 1_000_000} million pixels)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"  # no such file, no permission
    if content is None:
        with path.open("rb") as file:
            content = file.read(4)
    start = content[:4]
    if not start:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError) and not start.startswith(_SIGNATURES):
        return "is not an image (png, jpg, bmp, tiff or webp)"
    if isinstance(error, UnidentifiedImageError) and start.startswith(_TIFF):
        return "the file is damaged or truncated, or a TIFF of a kind that cannot be read, such as colour of 32 bits"
    return "the file is truncated" if "truncated" in str(error).lower() else "the file is damaged or truncated"
