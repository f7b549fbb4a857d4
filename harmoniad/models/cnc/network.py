"""The network: a bottleneck of gated experts, a decoder, and vectors of normality that pull at what it makes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.features.text import TextTower
from harmoniad.models.cnc.design import Cnc
from harmoniad.models.cnc.experts import GatedExperts
from harmoniad.models.prompts import LearnedPrompts, PromptedNetwork, SharedSpace, TextSize
from harmoniad.models.reconstruction.attention import Block, mlp
from harmoniad.models.reconstruction.loss import hard_mined_cosine
from harmoniad.models.reconstruction.network import ReconstructionNetwork

ENDING = "normal object without defects"


class CncNetwork(ReconstructionNetwork, PromptedNetwork):
    """Predicts groups of encoder layers from themselves, near to what is normal."""

    def __init__(self, shapes: tuple[Shape, ...], design: Cnc, text: TextTower | TextSize | None) -> None:
        super().__init__(shapes, grid=design.grid, groups=design.groups, norm=design.norm)
        self.balance_weight, self.normality_weight = design.balance_weight, design.normality_weight
        width = design.width
        self.project = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in self.channels)
        self.drop = nn.Dropout(design.dropout)
        self.experts = GatedExperts(width, design.experts, design.chosen) if design.experts else None
        self.bottleneck = None if design.experts else mlp(width)
        self.blocks = nn.ModuleList(Block(width, design.heads) for _ in range(design.blocks))
        self.heads = nn.ModuleList(nn.Linear(width, channels) for channels in self.channels)
        self.normality = (
            Normality(self.channels, TextSize(width, width) if text is None else text, design, learned=text is None)
            if design.normality_weight
            else None
        )

    def forward(self, targets: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Predict the groups.

        Args:
            targets: (B, D, grid, grid) for each group, from `targets`.

        Returns:
            Predictions of the same shapes, and how unevenly the experts are used, a scalar.
        """
        projected = [project(target) for project, target in zip(self.project, targets, strict=True)]
        tokens = self.drop(torch.stack(projected).mean(0).flatten(2).transpose(1, 2))
        unevenness = tokens.new_zeros(())
        if self.experts is not None:
            tokens, unevenness = self.experts(tokens)
        else:
            assert self.bottleneck is not None
            tokens = self.bottleneck(tokens)
        tokens = self.drop(tokens)
        outputs = []
        for block in self.blocks:
            tokens = block(tokens)
            outputs.append(tokens)
        return self._predictions(outputs, self.heads), unevenness

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Hard-mined cosine distance, the distance to normality, and the unevenness of the experts, weighted."""
        targets = self.targets(layers)
        predictions, unevenness = self(targets)
        loss = hard_mined_cosine(targets, predictions, hard_mining_share) + self.balance_weight * unevenness
        values = {"unevenness": unevenness.detach()}
        if self.normality is not None:
            described, pulled = self.normality(targets, predictions)
            loss = loss + self.normality_weight * (described + pulled)
            values |= {"described": described.detach(), "pulled": pulled.detach()}
        return loss, values

    def settle(self) -> None:
        """Keep what the text tower makes of the prompts."""
        if self.normality is not None:
            self.normality.settle()


class Normality(nn.Module):
    """A few vectors that describe normal tokens: learned, or what the text tower makes of learned prompts."""

    def __init__(self, channels: Sequence[int], text: TextTower | TextSize, design: Cnc, *, learned: bool) -> None:
        super().__init__()
        self.spaces = nn.ModuleList(SharedSpace(count, text) for count in channels)
        self.spaces.requires_grad_(False)  # a space that could be learned would shrink to a point
        self.prompts = (
            None
            if learned
            else LearnedPrompts(text, count=design.prompts, words=design.words, words_before=0, ending=ENDING)
        )
        self.vectors = nn.Parameter(torch.randn(design.prompts, text.dimensions)) if learned else None

    def forward(self, encoded: Sequence[Tensor], decoded: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Compare groups (B, D, h, w) of the encoder's and of the decoder's with normality.

        Returns:
            How far the encoded tokens lie from the nearest of the vectors, by which these learn; and how far the
            decoded ones lie from that same vector, by which the decoder learns. Cosine distances, scalars.
        """
        vectors = self._unit_vectors()
        described, pulled = [], []
        for space, target, prediction in zip(self.spaces, encoded, decoded, strict=True):
            nearest, index = (space(target) @ vectors.T).max(-1)
            described.append(1 - nearest.mean())
            pulled.append(1 - (space(prediction) * vectors.detach()[index]).sum(-1).mean())
        return torch.stack(described).mean(), torch.stack(pulled).mean()

    def _unit_vectors(self) -> Tensor:
        """(n, E)."""
        if self.vectors is not None:
            return F.normalize(self.vectors, dim=-1)
        assert self.prompts is not None
        return self.prompts()

    def settle(self) -> None:
        """Keep what the text tower makes of the prompts."""
        if self.prompts is not None:
            self.prompts.settle()
