"""The feature cache: one small file a view of an image, named by its content, so that nothing is ever encoded twice.

A file is written under a temporary name and renamed, so a kill at any moment loses at most the image at hand, and two
writers write the same bytes to the same name. Reading is memory-mapped: training on many images needs no more memory.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import EncoderSpec
from harmoniad.files import read_json, write_bytes, write_json

Shape = tuple[int, int, int]
MASK_GRID = 64  # side of the stored masks of made defects


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

    def path(self, key: str) -> Path:
        """The file of a view's features; the key of an image itself is its SHA-256."""
        return self.folder / key[:2] / f"{key}.npy"

    def mask_path(self, key: str) -> Path:
        """The file of the mask of a view with a made defect."""
        return self.folder / key[:2] / f"{key}.mask.npy"

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Which views have no whole file of features; in the order given, none twice."""
        whole = len(_npy_bytes(np.zeros(self._length, np.float16)))
        return [key for key in dict.fromkeys(keys) if _size(self.path(key)) != whole]

    def missing_masks(self, keys: Iterable[str]) -> list[str]:
        """Which views have no whole file of a mask; in the order given, none twice."""
        whole = len(_npy_bytes(np.zeros((MASK_GRID, MASK_GRID), np.uint8)))
        return [key for key in dict.fromkeys(keys) if _size(self.mask_path(key)) != whole]

    def write(self, key: str, layers: Sequence[np.ndarray]) -> None:
        """Store the layers (D, h, w) of a view as float16.

        Raises:
            HarmoniadError: The disk is full, or a feature is too large for float16.
        """
        flat = np.concatenate([layer.astype(np.float16).ravel() for layer in layers])
        if not np.isfinite(flat).all():
            raise HarmoniadError(f"image {key}: the encoder gives values beyond float16. Are the weights right?")
        write_bytes(self.path(key), _npy_bytes(flat))

    def write_mask(self, key: str, mask: np.ndarray) -> None:
        """Store a mask (R, R) of bool as the share of each cell of a grid that is defective.

        Raises:
            HarmoniadError: The disk is full.
        """
        image = Image.fromarray(mask.astype(np.uint8) * 255)
        cells = image.resize((MASK_GRID, MASK_GRID), Image.Resampling.BOX)
        write_bytes(self.mask_path(key), _npy_bytes(np.asarray(cells)))

    def read_mask(self, key: str) -> np.ndarray:
        """Share of each cell that is defective, from 0 to 255: (64, 64) of uint8.

        Raises:
            HarmoniadError: The view has not been encoded, or has no made defect.
        """
        return _load(self.mask_path(key))

    def read(self, key: str) -> list[np.ndarray]:
        """The layers (D, h, w) of a view, float16, memory-mapped.

        Raises:
            HarmoniadError: The view has not been encoded.
        """
        flat = _load(self.path(key))
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


def _load(path: Path) -> np.ndarray:
    try:
        content: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError) as error:
        raise HarmoniadError(f"{path}: no features. Run `harmoniad encode`.") from error
    return content


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
