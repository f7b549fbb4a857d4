"""The whole network: features in, predicted features out."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.harmoniad.attention import Block
from harmoniad.models.harmoniad.frequency import FrequencySplit
from harmoniad.models.harmoniad.fsam import FineStructureAttention
from harmoniad.models.harmoniad.gscm import GlobalContext
from harmoniad.params import Harmoniad


class DualPath(nn.Module):
    """One group of layers on the student's side: split, FSAM on high, GSCM on low, fusion."""

    def __init__(self, design: Harmoniad) -> None:
        super().__init__()
        self.split = FrequencySplit(design.gate_radius, design.gate_softness)
        self.high_path = FineStructureAttention(design.width) if design.fsam else nn.Identity()
        self.low_path = GlobalContext(design.width, design.heads) if design.gscm else nn.Identity()
        self.fusion = nn.Conv2d(2 * design.width, design.width, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, W, h, w) to the fused features of the same shape, and the mean share of the high path (a scalar)."""
        low, high = self.split(features)
        high, low = self.high_path(high), self.low_path(low)
        alpha = self.fusion(torch.cat([high, low], dim=1)).sigmoid()
        return alpha * high + (1 - alpha) * low, alpha.mean()


class HarmoniadNetwork(nn.Module):
    """Predicts groups of encoder layers from themselves through two frequency paths and a noisy bottleneck.

    Without `split` it is a plain reconstruction in the manner of Dinomaly.
    """

    def __init__(self, shapes: tuple[Shape, ...], design: Harmoniad) -> None:
        super().__init__()
        self.grid = design.grid or max(shape[1] for shape in shapes)
        self.norm = design.norm
        # Of the training features, for each channel of each layer; used by the channel norm.
        self.means = nn.ParameterList(_constant(torch.zeros(shape[0])) for shape in shapes)
        self.deviations = nn.ParameterList(_constant(torch.ones(shape[0])) for shape in shapes)
        self.members = group_layers(shapes, design.groups)
        self.channels = [_group_channels([shapes[index] for index in members]) for members in self.members]
        self.project = nn.ModuleList(nn.Conv2d(channels, design.width, 1) for channels in self.channels)
        self.paths = nn.ModuleList(DualPath(design) if design.split else nn.Identity() for _ in self.members)
        self.bottleneck = nn.Sequential(
            nn.Dropout(design.dropout),
            nn.Linear(design.width, 4 * design.width),
            nn.GELU(),
            nn.Dropout(design.dropout),
            nn.Linear(4 * design.width, design.width),
            nn.Dropout(design.dropout),
        )
        self.blocks = nn.ModuleList(Block(design.width, design.heads) for _ in range(design.blocks))
        self.heads = nn.ModuleList(nn.Linear(design.width, channels) for channels in self.channels)

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

    def forward(self, targets: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Predict the groups.

        Args:
            targets: (B, D, grid, grid) for each group, from `targets`.

        Returns:
            Predictions of the same shapes, and the mean share of the high path (0 without the split).
        """
        fused, shares = [], [torch.zeros((), device=targets[0].device)]
        for target, project, path in zip(targets, self.project, self.paths, strict=True):
            features = project(target)
            if isinstance(path, DualPath):
                features, share = path(features)
                shares.append(share.detach())
            fused.append(features)
        tokens = self.bottleneck(torch.stack(fused).mean(0).flatten(2).transpose(1, 2))
        outputs = []
        for block in self.blocks:
            tokens = block(tokens)
            outputs.append(tokens)
        predictions = [
            head(output).transpose(1, 2).unflatten(2, (self.grid, self.grid))
            for head, output in zip(self.heads, self._per_group(outputs), strict=True)
        ]
        return predictions, torch.stack(shares).sum() / max(len(shares) - 1, 1)

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

    def _per_group(self, outputs: list[Tensor]) -> list[Tensor]:
        """Mean output of the decoder's blocks for each group: the last blocks give back the shallowest layers."""
        count = len(self.members)
        bounds = [round(part * len(outputs) / count) for part in range(count + 1)]
        shares = [outputs[start:end] or outputs[-1:] for start, end in pairwise(bounds)]
        return [torch.stack(share).mean(0) for share in reversed(shares)]


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
