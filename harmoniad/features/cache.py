"""The feature cache: one small file an image, named by its content, so that nothing is ever encoded twice.

A file is written under a temporary name and renamed, so a kill at any moment loses at most the image at hand, and two
writers write the same bytes to the same name. Reading is memory-mapped: training on many images needs no more memory.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import EncoderSpec
from harmoniad.files import read_json, write_bytes, write_json

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class FeatureCache:
    """The features of one encoder.

    Attributes:
        folder: `<cache>/<key of the encoder>`.
        shapes: (D, h, w) of each tapped layer.
    """

    folder: Path
    shapes: tuple[Shape, ...]

    @classmethod
    def create(cls, root: Path, spec: EncoderSpec, shapes: Sequence[Shape]) -> Self:
        """Open the cache of an encoder, making its folder if it is new."""
        folder = _folder(root, spec)
        if not (folder / "encoder.json").is_file():
            write_json(folder / "encoder.json", {"encoder": asdict(spec), "shapes": [list(shape) for shape in shapes]})
        return cls(folder, tuple(shapes))

    @classmethod
    def open(cls, root: Path, spec: EncoderSpec) -> Self | None:
        """Open the cache of an encoder, or give None if it has never run."""
        file = _folder(root, spec) / "encoder.json"
        if not file.is_file():
            return None
        return cls(file.parent, tuple(tuple(shape) for shape in read_json(file)["shapes"]))

    def path(self, sha256: str) -> Path:
        """The file of an image's features."""
        return self.folder / sha256[:2] / f"{sha256}.npy"

    def missing(self, images: Iterable[str]) -> list[str]:
        """Which images, by their SHA-256, have no whole file of features; in the order given, none twice."""
        size = _npy_bytes(np.zeros(self._length, np.float16))
        whole = len(size)
        return [sha256 for sha256 in dict.fromkeys(images) if _size(self.path(sha256)) != whole]

    def write(self, sha256: str, layers: Sequence[np.ndarray]) -> None:
        """Store the layers (D, h, w) of an image as float16.

        Raises:
            HarmoniadError: The disk is full, or a feature is too large for float16.
        """
        flat = np.concatenate([layer.astype(np.float16).ravel() for layer in layers])
        if not np.isfinite(flat).all():
            raise HarmoniadError(f"image {sha256}: the encoder gives values beyond float16. Are the weights right?")
        write_bytes(self.path(sha256), _npy_bytes(flat))

    def read(self, sha256: str) -> list[np.ndarray]:
        """The layers (D, h, w) of an image, float16, memory-mapped.

        Raises:
            HarmoniadError: The image has not been encoded.
        """
        try:
            flat = np.load(self.path(sha256), mmap_mode="r", allow_pickle=False)
        except (FileNotFoundError, ValueError) as error:
            raise HarmoniadError(f"{self.path(sha256)}: no features. Run `harmoniad encode`.") from error
        ends = np.cumsum([np.prod(shape) for shape in self.shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), self.shapes, strict=True)]

    @property
    def _length(self) -> int:
        return int(sum(np.prod(shape) for shape in self.shapes))


def _folder(root: Path, spec: EncoderSpec) -> Path:
    return root / spec.key[:16]


def _npy_bytes(array: np.ndarray) -> bytes:
    # Through memory, since ndarray.tofile hides the reason of a failed write (a full disk among them).
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
