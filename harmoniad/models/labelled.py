"""Good images and copies of them with made defects as one labelled set, for networks that learn to tell them apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harmoniad.models.detector import FeatureSet, SyntheticSet


class Labelled:
    """The entries of both sets, the good ones first; a batch ends with masks in place of a further layer."""

    def __init__(self, good: FeatureSet, made: SyntheticSet) -> None:
        self._good, self._made = good, made
        self.shapes = good.shapes
        self.images = [*good.images, *made.images]
        self.categories = [*good.categories, *made.categories]

    def __len__(self) -> int:
        return len(self._good) + len(self._made)

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        """Read some entries, the good ones first.

        Returns:
            For each layer a float32 tensor (B, D, h, w), and at the end the defective share of each cell (B, g, g).
        """
        count = len(self._good)
        good = [index for index in indices if index < count]
        made = [index - count for index in indices if index >= count]
        masks = self._made.masks(made or [0])
        parts = [[*self._made.batch(made), masks]] if made else []
        if good:
            parts.insert(0, [*self._good.batch(good), torch.zeros(len(good), *masks.shape[1:])])
        return [torch.cat(layer) for layer in zip(*parts, strict=True)]
