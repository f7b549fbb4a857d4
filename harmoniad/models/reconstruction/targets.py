"""The frame of a network that works on the encoder's layers normalised, on one grid and joined into groups."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.network_detector import ScoringNetwork


class TargetNetwork(ScoringNetwork):
    """Makes the targets: the encoder's layers, normalised, brought to one grid and joined into groups."""

    def __init__(self, shapes: tuple[Shape, ...], *, grid: int, groups: int, norm: Literal["layer", "channel"]) -> None:
        super().__init__()
        self.grid = grid or max(shape[1] for shape in shapes)
        self.norm = norm
        # Of the training features, for each channel of each layer; used by the channel norm.
        self.means = nn.ParameterList(_constant(torch.zeros(shape[0])) for shape in shapes)
        self.deviations = nn.ParameterList(_constant(torch.ones(shape[0])) for shape in shapes)
        self.members = group_layers(shapes, groups)
        self.channels = [_group_channels([shapes[index] for index in members]) for members in self.members]

    def prepare(self, batches: Iterable[Sequence[Tensor]]) -> None:
        """Measure the channels if they are what is normalised."""
        if self.norm == "channel":
            self.measure_channels(batches)

    @torch.no_grad()
    def measure_channels(self, batches: Iterable[Sequence[Tensor]]) -> None:
        """Learn mean and standard deviation of each channel of each layer, for the channel norm."""
        count = 0
        sums, squares = [torch.zeros_like(mean) for mean in self.means], [torch.zeros_like(mean) for mean in self.means]
        for layers in batches:
            count += len(layers[0])
            for index, layer in enumerate(layers):
                sums[index] += layer.mean((2, 3)).sum(0)
                squares[index] += layer.square().mean((2, 3)).sum(0)
        for index, (total, square) in enumerate(zip(sums, squares, strict=True)):
            mean = total / count
            self.means[index].copy_(mean)
            self.deviations[index].copy_((square / count - mean.square()).clamp(min=1e-12).sqrt())

    def targets(self, layers: Sequence[Tensor]) -> list[Tensor]:
        """Normalise layers (B, D, h, w), bring them to one grid, and join them into groups.

        Returns:
            A tensor (B, D, grid, grid) for each group, from shallow to deep. Layers of one width are averaged, layers
            of different widths (of a convolutional network) stand side by side.
        """
        normed = [self._on_grid(layer) for layer in self._normalised(layers)]
        groups = []
        for members in self.members:
            group = [normed[index] for index in members]
            same_width = len({layer.shape[1] for layer in group}) == 1
            groups.append(torch.stack(group).mean(0) if same_width else torch.cat(group, dim=1))
        return groups

    def _normalised(self, layers: Sequence[Tensor]) -> list[Tensor]:
        if self.norm == "layer":
            return [F.layer_norm(layer.movedim(1, -1), layer.shape[1:2]).movedim(-1, 1) for layer in layers]
        scales = zip(layers, self.means, self.deviations, strict=True)
        return [(layer - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1) for layer, mean, deviation in scales]

    def _on_grid(self, layer: Tensor) -> Tensor:
        size = (self.grid, self.grid)
        if layer.shape[-2:] == size:
            return layer
        return F.interpolate(
            layer, size=size, mode="bilinear", align_corners=False, antialias=self.grid < layer.shape[-1]
        )


def group_layers(shapes: tuple[Shape, ...], groups: int) -> list[list[int]]:
    """Share the layers out among the groups in order, as evenly as possible; at least one layer a group."""
    groups = min(groups, len(shapes))
    bounds = [round(part * len(shapes) / groups) for part in range(groups + 1)]
    return [list(range(start, end)) for start, end in pairwise(bounds)]


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)


def _group_channels(shapes: list[Shape]) -> int:
    widths = [shape[0] for shape in shapes]
    return widths[0] if len(set(widths)) == 1 else sum(widths)
