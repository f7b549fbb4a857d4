"""The flow, which goes both ways, and the classifier, which alone is asked when an image is scored."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.bi_flow.design import BiFlow
from harmoniad.models.reconstruction.patches import PatchNetwork

LARGEST_LOG_SCALE = 1.0  # of a coupling: bounds how far its inverse can throw a patch


class BiFlowNetwork(PatchNetwork):
    """Normal patches go to a normal distribution; with noise added there they come back as pseudo-anomalies."""

    def __init__(self, shapes: tuple[Shape, ...], design: BiFlow) -> None:
        super().__init__(shapes, design.grid)
        channels, width = self.channels[0], design.width
        self.noise, self.drawn = design.noise, design.patches
        self.flow = Flow(channels, width, design.couplings)
        self.classifier = nn.Sequential(
            nn.Linear(channels, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1)
        )

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Likelihood of the flow, and cross entropy of the classifier; the flow learns nothing from the classifier."""
        tokens = self.patches(layers).movedim(1, -1).flatten(0, 2)
        tokens = tokens[torch.randperm(len(tokens), device=tokens.device)[: self.drawn]]
        codes, log_volume = self.flow(tokens)
        surprise = (codes.square().sum(1) / 2 - log_volume).mean() / tokens.shape[1]
        with torch.no_grad():
            pseudo = self.flow.inverse(self.disturb(codes))
        logits_normal, logits_pseudo = self.classifier(tokens), self.classifier(pseudo)
        mistaken = (F.softplus(logits_normal) + F.softplus(-logits_pseudo)).mean() / 2
        return surprise + mistaken, {"surprise": surprise.detach(), "mistaken": mistaken.detach()}

    def disturb(self, codes: Tensor) -> Tensor:
        """Add noise to codes (n, C), to each with a deviation of its own up to the largest."""
        size = self.noise * torch.rand(len(codes), 1, device=codes.device)
        return codes + size * torch.randn_like(codes)

    def score(self, patches: Tensor) -> Tensor:
        """The classifier's logit for each patch of (B, C, h, w): (B, h, w)."""
        logits: Tensor = self.classifier(patches.movedim(1, -1))
        return logits[..., 0]


class Flow(nn.Module):
    """Affine couplings with fixed shuffles of the channels between them (Dinh et al., ICLR 2017)."""

    def __init__(self, channels: int, width: int, couplings: int) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(channels, width) for _ in range(couplings))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C) to codes (n, C) and the logarithm of the change of volume (n,)."""
        volume = torch.zeros(len(tokens), device=tokens.device)
        for coupling in self.couplings:
            tokens, change = coupling(tokens)
            volume = volume + change
        return tokens, volume

    def inverse(self, codes: Tensor) -> Tensor:
        """Codes (n, C) back to tokens (n, C)."""
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            codes = coupling.inverse(codes)
        return codes


class Coupling(nn.Module):
    """Shuffles the channels, then scales and shifts the second half of them by what the first half says."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = channels // 2
        self.order: Tensor
        self.register_buffer("order", torch.randperm(channels))
        last = nn.Linear(width, 2 * (channels - self.first))
        nn.init.zeros_(last.weight)  # the flow starts as the identity
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(self.first, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), last)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C) to the same shape, and the logarithm of the change of volume (n,)."""
        kept, changed = tokens[:, self.order].tensor_split([self.first], dim=1)
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, changed * log_scale.exp() + shift], dim=1), log_scale.sum(1)

    def inverse(self, codes: Tensor) -> Tensor:
        """Undo `forward`."""
        kept, changed = codes.tensor_split([self.first], dim=1)
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, (changed - shift) * (-log_scale).exp()], dim=1)[:, self.order.argsort()]

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.layers(kept).float().chunk(2, dim=1)
        return LARGEST_LOG_SCALE * torch.tanh(log_scale), shift
