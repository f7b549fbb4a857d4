"""The discriminator: one block of attention over the tokens, and a logit for each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.general_ad.design import GeneralAd
from harmoniad.models.general_ad.distortions import distort, salience_of
from harmoniad.models.reconstruction.attention import CrossBlock
from harmoniad.models.reconstruction.patches import PatchNetwork, as_tokens


class GeneralAdNetwork(PatchNetwork):
    """Says of each token whether it is distorted (GeneralAD, section 3.3)."""

    def __init__(self, shapes: tuple[Shape, ...], design: GeneralAd) -> None:
        super().__init__(shapes, design.grid)
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
        tokens = as_tokens(self.patches(layers))
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

    def score(self, patches: Tensor) -> Tensor:
        """The logits: (B, grid, grid)."""
        return self(as_tokens(patches)).unflatten(1, (self.grid, self.grid))


def _entropy(logits: Tensor, hit: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), hit.float())
