"""The block: a convolution that does not see the middle, and a transformer among the channels that gates it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.reconstruction.attention import CrossBlock
from harmoniad.models.reconstruction.patches import PatchNetwork
from harmoniad.models.ssmctb.design import Ssmctb


class SsmctbNetwork(PatchNetwork):
    """Predicts each token from the four at its corners (SSMCTB, section 3)."""

    def __init__(self, shapes: tuple[Shape, ...], design: Ssmctb) -> None:
        super().__init__(shapes, design.grid)
        self.corners = MaskedConvolution(self.channels[0], design.width, design.distance)
        self.gate = ChannelGate(design) if design.channel_blocks else None
        self.predict = nn.Conv2d(design.width, self.channels[0], 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to a prediction of the same shape."""
        found = F.relu(self.corners(features))
        if self.gate is not None:
            found = found * self.gate(found)[:, :, None, None]
        return self.predict(found)

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The Huber distance of the features to their prediction; there is no hard mining."""
        patches = self.patches(layers)
        return F.huber_loss(self(patches).float(), patches), {}

    def score(self, patches: Tensor) -> Tensor:
        """The Huber distance of each token, the mean over the channels: (B, grid, grid)."""
        return F.huber_loss(self(patches), patches, reduction="none").mean(1)


class MaskedConvolution(nn.Module):
    """A convolution that has weights at the four corners of its kernel only."""

    def __init__(self, channels: int, width: int, distance: int) -> None:
        super().__init__()
        self.distance = distance
        self.mix = nn.Conv2d(4 * channels, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, W, h, w); what lies beyond the edge is zero."""
        height, width = features.shape[-2:]
        padded = F.pad(features, [self.distance] * 4)
        ends = (0, 2 * self.distance)
        corners = [padded[:, :, top : top + height, left : left + width] for top in ends for left in ends]
        return self.mix(torch.cat(corners, dim=1))


class ChannelGate(nn.Module):
    """Channels look at one another, and each is given a weight in (0, 1)."""

    def __init__(self, design: Ssmctb) -> None:
        super().__init__()
        self.pooled = design.pooled
        self.embed = nn.Linear(design.pooled**2, design.channel_width)
        self.name = nn.Parameter(0.02 * torch.randn(design.width, design.channel_width))
        self.blocks = nn.ModuleList(
            CrossBlock(design.channel_width, design.heads) for _ in range(design.channel_blocks)
        )
        self.weigh = nn.Linear(design.channel_width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, W, h, w) to weights (B, W)."""
        channels = self.embed(F.adaptive_avg_pool2d(features, self.pooled).flatten(2)) + self.name
        for block in self.blocks:
            channels = block(channels, channels)
        return self.weigh(channels)[:, :, 0].sigmoid()
