"""Head 1: a network that predicts the features from themselves."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harmoniad.features.cache import Shape
from harmoniad.models.harmoniad.design import Harmoniad
from harmoniad.models.harmoniad.paths import DualPath
from harmoniad.models.reconstruction.attention import Block
from harmoniad.models.reconstruction.loss import hard_mined_cosine
from harmoniad.models.reconstruction.network import ReconstructionNetwork


class HarmoniadNetwork(ReconstructionNetwork):
    """Predicts groups of encoder layers from themselves through two frequency paths and a noisy bottleneck.

    Without `split` it is a plain reconstruction in the manner of Dinomaly.
    """

    def __init__(self, shapes: tuple[Shape, ...], design: Harmoniad) -> None:
        super().__init__(shapes, grid=design.grid, groups=design.groups, norm=design.norm)
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
        high_share = torch.stack(shares).sum() / max(len(shares) - 1, 1)
        return self._predictions(outputs, self.heads), high_share

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Hard-mined cosine distance; logs the mean share of the high path in the fusion."""
        targets = self.targets(layers)
        predictions, high_share = self(targets)
        return hard_mined_cosine(targets, predictions, hard_mining_share), {"high_share": high_share}
