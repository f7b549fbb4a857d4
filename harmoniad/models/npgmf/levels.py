"""The encoder's layers as NPGMF's parts see them, and the training images in that form."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet
from harmoniad.models.harmoniad.entries import batches_of

MAX_GRID = 32  # what is finer is averaged


class Levels(nn.Module):
    """Each channel normalised over the training images, on grids that are not too fine.

    Attributes:
        shapes: (D, h, w) of each level.
        centroids: (categories, sum of D), the mean of the training images of each category, pooled over all places.
    """

    centroids: Tensor

    def __init__(self, shapes: tuple[Shape, ...], categories: int) -> None:
        super().__init__()
        self.shapes = [(shape[0], min(shape[1], MAX_GRID), min(shape[2], MAX_GRID)) for shape in shapes]
        self.means = nn.ParameterList(nn.Parameter(torch.zeros(shape[0]), requires_grad=False) for shape in shapes)
        self.deviations = nn.ParameterList(nn.Parameter(torch.ones(shape[0]), requires_grad=False) for shape in shapes)
        self.register_buffer("centroids", torch.zeros(categories, sum(shape[0] for shape in shapes)))

    @torch.no_grad()
    def measure(self, features: FeatureSet, category: Tensor) -> None:
        """Learn mean and standard deviation of each channel, and the centroids, in one pass over good images.

        Args:
            features: The images.
            category: (n,), the number of the category of each.
        """
        count, pooled = 0, []
        sums, squares = [torch.zeros_like(mean) for mean in self.means], [torch.zeros_like(mean) for mean in self.means]
        for layers in batches_of(features, range(len(features))):
            count += len(layers[0])
            grids = self._on_grids(layers)
            for index, layer in enumerate(grids):
                sums[index] += layer.mean((2, 3)).sum(0)
                squares[index] += layer.square().mean((2, 3)).sum(0)
            pooled.append(torch.cat([layer.mean((2, 3)) for layer in grids], dim=1))
        for index, (total, square) in enumerate(zip(sums, squares, strict=True)):
            mean = total / count
            self.means[index].copy_(mean)
            self.deviations[index].copy_((square / count - mean.square()).clamp(min=1e-12).sqrt())
        normalised = (torch.cat(pooled) - torch.cat(list(self.means))) / torch.cat(list(self.deviations))
        for number in range(len(self.centroids)):
            self.centroids[number] = normalised[category == number].mean(0)

    @torch.no_grad()
    def forward(self, layers: Sequence[Tensor]) -> list[Tensor]:
        """(B, D, h, w) for each layer to the same on `shapes`."""
        scales = zip(self._on_grids(layers), self.means, self.deviations, strict=True)
        return [(layer - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1) for layer, mean, deviation in scales]

    @torch.no_grad()
    def category_of(self, levels: Sequence[Tensor]) -> Tensor:
        """Number of the category whose centroid is nearest: (B, D, h, w) for each level to (B,)."""
        pooled = torch.cat([level.mean((2, 3)) for level in levels], dim=1)
        return torch.cdist(pooled, self.centroids).argmin(1)

    def _on_grids(self, layers: Sequence[Tensor]) -> list[Tensor]:
        device = self.means[0].device
        return [
            F.adaptive_avg_pool2d(layer.to(device).float(), shape[1:])
            for layer, shape in zip(layers, self.shapes, strict=True)
        ]


class Seen:
    """Training images as levels; a batch ends with the numbers of their categories in place of a further level."""

    def __init__(self, features: FeatureSet, levels: Levels, category: Tensor) -> None:
        self._features, self._levels, self._category = features, levels, category
        self.images, self.categories, self.shapes = features.images, features.categories, features.shapes

    def __len__(self) -> int:
        return len(self._features)

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        """The levels (B, D, h, w), and at the end (B,)."""
        return [*self._levels(self._features.batch(indices)), self._category[list(indices)]]
