"""Cached features as a detector sees them: batches of tensors, read from disk when they are asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from harmoniad.features.cache import FeatureCache, Shape
from harmoniad.features.views import View, views_of
from harmoniad.params import Views

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]


@dataclass(frozen=True)
class CachedFeatures:
    """The features of some views of images.

    Attributes:
        cache: Where the features lie.
        images: SHA-256 of the image of each entry; an image has as many entries as views.
        categories: Category of each entry.
        views: How each entry looks at its image; None if all of them are the images themselves.
    """

    cache: FeatureCache
    images: Sequence[str]
    categories: Sequence[str]
    views: Sequence[View] | None = None

    @classmethod
    def of_rows(cls, cache: FeatureCache, rows: "pd.DataFrame", views_of: Callable[[Row], Sequence[View]]) -> Self:
        """The views of some rows of a manifest, image by image."""
        entries = [(row, view) for row in rows.to_dict("records") for view in views_of(row)]  # type: ignore[arg-type]
        images = [str(row["sha256"]) for row, _ in entries]
        return cls(cache, images, [str(row["category"]) for row, _ in entries], [view for _, view in entries])

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(D, h, w) of each tapped layer."""
        return self.cache.shapes

    @property
    def keys(self) -> list[str]:
        """Name of each entry in the cache."""
        return [self._key(index) for index in range(len(self))]

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        """Read some entries.

        Returns:
            For each tapped layer a float32 tensor (B, D, h, w).
        """
        entries = [self.cache.read(self._key(index)) for index in indices]
        return [torch.from_numpy(np.stack(layer).astype(np.float32)) for layer in zip(*entries, strict=True)]

    def masks(self, indices: Sequence[int]) -> Tensor:
        """Share of each cell that is defective, for entries with made defects: (B, g, g) float32."""
        cells = np.stack([self.cache.read_mask(self._key(index)) for index in indices])
        return torch.from_numpy(cells.astype(np.float32) / 255)

    def _key(self, index: int) -> str:
        return self.views[index].key(self.images[index]) if self.views is not None else self.images[index]


def training_features(
    cache: FeatureCache, rows: "pd.DataFrame", params: Views
) -> tuple[CachedFeatures, CachedFeatures | None]:
    """The views of good training images, and their copies with made defects, or None if there are none."""
    good = CachedFeatures.of_rows(cache, rows, lambda row: [v for v in views_of(row, params) if v.synthetic is None])
    made = CachedFeatures.of_rows(
        cache, rows, lambda row: [v for v in views_of(row, params) if v.synthetic is not None]
    )
    return good, made if len(made) else None


def image_paths(manifest: "pd.DataFrame") -> dict[str, Path]:
    """Path of each image of a manifest by the SHA-256 of its content."""
    return {sha256: Path(path) for sha256, path in zip(manifest["sha256"], manifest["path"], strict=True)}


def image_views(manifest: "pd.DataFrame", views_of: Callable[[Row], Sequence[View]]) -> dict[str, list[View]]:
    """The views of each image of a manifest by the SHA-256 of its content; none twice."""
    found: dict[str, dict[View, None]] = {}
    for row in manifest.to_dict("records"):
        found.setdefault(str(row["sha256"]), {}).update(dict.fromkeys(views_of(row)))  # type: ignore[arg-type]
    return {sha256: list(views) for sha256, views in found.items()}
