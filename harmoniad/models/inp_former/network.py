"""The network: prototypes are gathered from the image's tokens, and the tokens are rebuilt from the prototypes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.inp_former.design import InpFormer
from harmoniad.models.reconstruction.attention import CrossBlock, by_head, mlp
from harmoniad.models.reconstruction.loss import soft_mined_cosine
from harmoniad.models.reconstruction.network import ReconstructionNetwork


class InpFormerNetwork(ReconstructionNetwork):
    """Predicts groups of encoder layers from a few prototypes of the same image (INP-Former, section 3)."""

    def __init__(self, shapes: tuple[Shape, ...], design: InpFormer) -> None:
        super().__init__(shapes, grid=design.grid, groups=design.groups, norm=design.norm)
        width, heads = design.width, design.heads
        self.mining_power, self.coherence_weight = design.mining_power, design.coherence_weight
        self.project = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in self.channels)
        self.queries = nn.Parameter(torch.randn(design.prototypes, width))
        self.extractor = nn.ModuleList(CrossBlock(width, heads) for _ in range(design.extractor_blocks))
        self.bottleneck = mlp(width)
        self.blocks = nn.ModuleList(DecoderBlock(width, heads) for _ in range(design.blocks))
        self.heads = nn.ModuleList(nn.Linear(width, channels) for channels in self.channels)

    def forward(self, targets: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Predict the groups.

        Args:
            targets: (B, D, grid, grid) for each group, from `targets`.

        Returns:
            Predictions of the same shapes, and the coherence loss, a scalar.
        """
        projected = [project(target) for project, target in zip(self.project, targets, strict=True)]
        tokens = torch.stack(projected).mean(0).flatten(2).transpose(1, 2)
        prototypes = self.prototypes(tokens)
        rebuilt = self.bottleneck(tokens)
        outputs = []
        for block in self.blocks:
            rebuilt = block(rebuilt, prototypes)
            outputs.append(rebuilt)
        return self._predictions(outputs, self.heads), coherence(tokens, prototypes)

    def prototypes(self, tokens: Tensor) -> Tensor:
        """Gather the prototypes (B, K, W) of each image from its tokens (B, N, W)."""
        prototypes = self.queries.expand(len(tokens), -1, -1)
        for block in self.extractor:
            prototypes = block(prototypes, tokens)
        return prototypes

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Soft-mined cosine distance plus the weighted coherence loss; the soft mining needs no share."""
        targets = self.targets(layers)
        predictions, incoherence = self(targets)
        loss = soft_mined_cosine(targets, predictions, self.mining_power)
        return loss + self.coherence_weight * incoherence, {"coherence": incoherence}


class DecoderBlock(nn.Module):
    """Tokens are rebuilt from the prototypes alone.

    The attention has no residual: a token only says how much of each prototype it wants, and its own content goes no
    further. ReLU instead of softmax lets it want nothing of a prototype that is unlike it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.sharpness = nn.Parameter(torch.ones(heads, 1, 1))
        self.out = nn.Linear(width, width)
        self.mlp = mlp(width)

    def forward(self, tokens: Tensor, prototypes: Tensor) -> Tensor:
        """(B, N, W) and (B, K, W) to tokens (B, N, W)."""
        queries = F.normalize(by_head(self.query(self.norm_attention(tokens)), self.heads), dim=-1)
        keys, values = self.key_value(self.norm_attention(prototypes)).chunk(2, dim=-1)
        keys, values = F.normalize(by_head(keys, self.heads), dim=-1), by_head(values, self.heads)
        weights = F.relu(queries @ keys.transpose(-2, -1) * self.sharpness)
        rebuilt = self.out((weights @ values).transpose(1, 2).flatten(2))
        return rebuilt + self.mlp(self.norm_mlp(rebuilt))


def coherence(tokens: Tensor, prototypes: Tensor) -> Tensor:
    """Mean cosine distance of the tokens (B, N, W) to their nearest prototype (B, K, W): a scalar.

    It keeps the prototypes at what is common in the image. The tokens get no gradient from it: in the paper they are
    the frozen encoder's, and here they could all collapse onto a prototype.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        tokens, prototypes = F.normalize(tokens.detach().float(), dim=-1), F.normalize(prototypes.float(), dim=-1)
        return (1 - tokens @ prototypes.transpose(1, 2)).amin(2).mean()
