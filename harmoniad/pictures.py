"""Images as callers hold them (arrays, Pillow images, files, their bytes), made one kind of array."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from harmoniad.data.images import MAX_PIXELS, ImageError, load_rgb, rgb_array
from harmoniad.errors import HarmoniadError

Picture = NDArray[np.uint8] | NDArray[np.uint16] | Image.Image | Path | str | bytes
"""An image: an array (H, W), (H, W, 3) or (H, W, 4), a Pillow image, a file's path, or the content of a file."""

_pillow_reads = threading.Lock()  # an image that Pillow opened reads its file at first use, which two threads must not


def as_list(images: Picture | NDArray[np.uint8] | Sequence[Picture]) -> list[Picture]:
    """A batch as a list; a single image is a batch of one, an array (B, H, W, 3) is B images."""
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 or images.dtype == object else [images]
    return [images] if isinstance(images, Image.Image | Path | str | bytes) else list(images)


def to_rgb(picture: Picture, name: str = "image", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """An image as (H, W, 3) uint8, RGB.

    Transparency is dropped, EXIF orientation applied, and 16-bit grey divided by 257, whatever the image comes as.

    Args:
        picture: The image.
        name: What an error calls an image that is no file.
        max_pixels: More are refused before a file is decoded.

    Raises:
        ImageError: A file or its content cannot be decoded.
        HarmoniadError: An array has another shape or type.
    """
    if isinstance(picture, Path | str):
        return load_rgb(Path(picture), max_pixels=max_pixels)
    if isinstance(picture, bytes):
        return load_rgb(Path(name), picture, max_pixels=max_pixels)
    if isinstance(picture, Image.Image):
        return rgb_array(_upright(picture, name), Path(name))
    return _from_array(picture, name)


def _upright(picture: Image.Image, name: str) -> Image.Image:
    try:
        with _pillow_reads:
            picture.load()
            return ImageOps.exif_transpose(picture)
    except Exception as error:  # a damaged file makes the decoders raise almost anything
        raise ImageError(Path(name), "the file is damaged or truncated") from error


def _from_array(array: NDArray[np.uint8] | NDArray[np.uint16], name: str) -> NDArray[np.uint8]:
    is_array = isinstance(array, np.ndarray)
    if is_array and array.size and array.dtype == np.uint8:
        if array.ndim == 3 and array.shape[2] in (3, 4):
            return np.ascontiguousarray(array[:, :, :3])
        if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
            return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if is_array and array.size and array.dtype == np.uint16 and array.ndim == 2:
        return rgb_array(Image.fromarray(array), Path(name))
    found = f"{array.dtype} {array.shape}" if is_array else type(array).__name__
    raise HarmoniadError(
        f"{name}: must be uint8 (H, W, 3) in RGB, (H, W, 4), (H, W), or uint16 (H, W), but it is {found}."
    )
