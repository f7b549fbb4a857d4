"""Cached features as a detector sees them: batches of tensors, read from disk when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from harmoniad.features.cache import FeatureCache, Shape

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CachedFeatures:
    """The features of some images.

    Attributes:
        cache: Where the features lie.
        images: SHA-256 of each image.
        categories: Category of each image.
    """

    cache: FeatureCache
    images: Sequence[str]
    categories: Sequence[str]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(D, h, w) of each tapped layer."""
        return self.cache.shapes

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        """Read some images.

        Returns:
            For each tapped layer a float32 tensor (B, D, h, w).
        """
        images = [self.cache.read(self.images[index]) for index in indices]
        return [torch.from_numpy(np.stack(layer).astype(np.float32)) for layer in zip(*images, strict=True)]


def image_paths(manifest: "pd.DataFrame") -> dict[str, Path]:
    """Path of each image of a manifest by the SHA-256 of its content."""
    return {sha256: Path(path) for sha256, path in zip(manifest["sha256"], manifest["path"], strict=True)}
