"""Features in memory with a pattern to learn: what a detector's test needs."""

from collections.abc import Sequence

import torch
from torch import Tensor


class PatternFeatures:
    """Every image is the same pattern of channels with a little noise; category by category another pattern."""

    shapes = ((12, 8, 8), (20, 4, 4))

    def __init__(self, count: int, categories: Sequence[str] = ("a", "b"), seed: int = 0) -> None:
        self.images = [f"{index:064x}" for index in range(count)]
        self.categories = [categories[index % len(categories)] for index in range(count)]
        generator = torch.Generator().manual_seed(seed)
        patterns = {
            name: [torch.randn(shape, generator=torch.Generator().manual_seed(index)) for shape in self.shapes]
            for index, name in enumerate(sorted(categories))
        }
        self._layers = [
            torch.stack([patterns[name][layer] for name in self.categories])
            + 0.05 * torch.randn((count, *shape), generator=generator)
            for layer, shape in enumerate(self.shapes)
        ]

    def __len__(self) -> int:
        return len(self.categories)

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        return [layer[list(indices)].clone() for layer in self._layers]


class SyntheticFeatures(PatternFeatures):
    """The same with foreign features, and a mask of ones, in the upper left quarter of the grid."""

    grid = 16

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        return with_anomaly(super().batch(indices))

    def masks(self, indices: Sequence[int]) -> Tensor:
        masks = torch.zeros(len(indices), self.grid, self.grid)
        masks[:, : self.grid // 4, : self.grid // 4] = 1
        return masks


def with_anomaly(layers: list[Tensor]) -> list[Tensor]:
    """The same features with foreign ones in the upper left quarter of the grid."""
    changed = [layer.clone() for layer in layers]
    generator = torch.Generator().manual_seed(99)
    for layer in changed:
        size = layer.shape[-1] // 4
        layer[:, :, :size, :size] = 2 * torch.randn(layer[:, :, :size, :size].shape, generator=generator)
    return changed
