"""What may come in a request: an image, only an image, and not too large."""

import io
import re
import zipfile
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from harmoniad.data.images import FORMATS, MAX_SIDE, ImageError

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}
_END_OF_PNG, _END_OF_JPEG = b"IEND\xaeB`\x82", b"\xff\xd9"
_OTHER_FILES = re.compile(rb"%PDF-|PK\x03\x04|<script|<html|<svg|<\?php|#!/|\x7fELF", re.IGNORECASE)


class RefusedError(Exception):
    """A request that is not answered; `status` is that of HTTP, the message is one line for the caller."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(" ".join(reason.split()))
        self.status = status


@dataclass(frozen=True)
class Header:
    """What an image says of itself before it is decoded."""

    pixels: int
    suffix: str


def read_header(content: bytes, max_pixels: int) -> Header:
    """Look at an image without decoding it.

    Raises:
        RefusedError: It is too large, no image, or something else besides.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            (width, height), kind = image.size, str(image.format)
    except Image.DecompressionBombError as error:
        raise _too_large(max_pixels) from error
    except UnidentifiedImageError as error:
        what = "the image is empty" if not content else "is not an image (png, jpg, bmp, tiff or webp), or damaged"
        raise RefusedError(422, what) from error
    except Exception as error:  # a damaged file makes the decoders raise almost anything
        raise RefusedError(422, "the image is damaged or truncated") from error
    if width * height > max_pixels:
        raise _too_large(max_pixels)
    if max(width, height) > MAX_SIDE:
        raise RefusedError(413, f"the image is too long: {width} × {height}, at most {MAX_SIDE} pixels a side")
    _refuse_another_file_besides(content, kind)
    return Header(width * height, _SUFFIXES[kind])


def refused(error: ImageError) -> RefusedError:
    """Why an image could not be decoded."""
    return RefusedError(
        422, f"the image {error.reason}" if error.reason.startswith(("is ", "cannot")) else error.reason
    )


def _too_large(max_pixels: int) -> RefusedError:
    return RefusedError(413, f"the image is too large: at most {max_pixels / 1_000_000:g} million pixels")


def _refuse_another_file_besides(content: bytes, kind: str) -> None:
    """Refuse files that other programs would take for something else: what is flagged may become part of a data set."""
    tail = b""
    if kind == "PNG":
        tail = content[content.rfind(_END_OF_PNG) + len(_END_OF_PNG) :] if _END_OF_PNG in content else b""
    elif kind in ("JPEG", "MPO"):
        tail = content[content.rfind(_END_OF_JPEG) + len(_END_OF_JPEG) :]
    if _OTHER_FILES.search(tail) or _OTHER_FILES.search(content[:1024]) or zipfile.is_zipfile(io.BytesIO(content)):
        raise RefusedError(422, "the image holds another file besides (an archive, a document or a script)")
