"""The discriminator: one block of attention over the tokens, and a logit for each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.general_ad.design import GeneralAd
from harmoniad.models.general_ad.distortions import distort, salience_of
from harmoniad.models.reconstruction.attention import CrossBlock
from harmoniad.models.reconstruction.targets import TargetNetwork


class GeneralAdNetwork(TargetNetwork):
    """Says of each token whether it is distorted (GeneralAD, section 3.3)."""

    def __init__(self, shapes: tuple[Shape, ...], design: GeneralAd) -> None:
        super().__init__(shapes, grid=design.grid, groups=1, norm=design.norm)
        self.design = design
        self.project = nn.Linear(self.channels[0], design.width)
        self.place = nn.Parameter(0.02 * torch.randn(self.grid**2, design.width))
        self.block = CrossBlock(design.width, design.heads)
        self.logit = nn.Sequential(nn.LayerNorm(design.width), nn.Linear(design.width, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, C) to logits (B, N)."""
        embedded = self.project(tokens) + self.place
        return self.logit(self.block(embedded, embedded))[:, :, 0]

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Binary cross entropy of good tokens and of distorted copies; there is no hard mining."""
        tokens = self.tokens(layers)
        changed, hit = distort(
            tokens,
            salience_of(tokens),
            self.design.distortions,
            noise=self.design.noise,
            most_moved=self.design.most_moved,
        )
        good, made = self(tokens), self(changed)
        loss = _entropy(good, torch.zeros_like(hit)) + _entropy(made, hit)
        return loss / 2, {"found": ((made > 0) & hit).sum() / hit.sum().clamp(min=1)}

    def tokens(self, layers: Sequence[Tensor]) -> Tensor:
        """Layers (B, D, h, w) as tokens (B, N, C) of one grid."""
        return self.targets(layers)[0].flatten(2).transpose(1, 2)

    def anomaly_maps(self, layers: Sequence[Tensor], side: int) -> Tensor:
        """The logits: (B, side, side)."""
        maps = self(self.tokens(layers)).view(-1, 1, self.grid, self.grid)
        return F.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)[:, 0]


def _entropy(logits: Tensor, hit: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), hit.float())
