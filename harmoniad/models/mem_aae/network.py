"""One autoencoder for two tasks, with a memory in its middle and a discriminator at its side."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.mem_aae.design import MemAae
from harmoniad.models.reconstruction.patches import PatchNetwork, squared_error
from harmoniad.models.reconstruction.reversal import reversed_gradient


class MemAaeNetwork(PatchNetwork):
    """Rebuilds a patch from itself and predicts it from its neighbours, both from what the memory holds."""

    def __init__(self, shapes: tuple[Shape, ...], design: MemAae) -> None:
        super().__init__(shapes, design.grid)
        channels, width = self.channels[0], design.width
        self.adversarial_weight, self.prediction_weight = design.adversarial_weight, design.prediction_weight
        self.project = nn.Conv2d(channels, width, 1)
        self.neighbours = NeighbourConvolution(width)
        self.encoder = nn.Sequential(
            nn.GELU(), nn.Conv2d(width, width, 1), nn.GELU(), nn.Conv2d(width, design.latent, 1)
        )
        self.memory = Memory(design.memory, design.latent)
        self.decoder = nn.Sequential(
            nn.Conv2d(design.latent, width, 1),
            nn.GELU(),
            nn.Conv2d(width, width, 1),
            nn.GELU(),
            nn.Conv2d(width, channels, 1),
        )
        self.discriminator = nn.Sequential(nn.Conv2d(design.latent, width, 1), nn.GELU(), nn.Conv2d(width, 1, 1))

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Both errors, and the discriminator's loss, which the encoder makes larger by the reversed gradient."""
        patches = self.patches(layers)
        codes = self._codes(patches)
        rebuilt, predicted = (squared_error(patches, self.decoder(self.memory(code))).mean() for code in codes)
        told = self.discriminator(reversed_gradient(codes[0]))
        drawn = self.discriminator(torch.randn_like(codes[0]))
        adversarial = (F.softplus(told) + F.softplus(-drawn)).mean()
        loss = rebuilt + self.prediction_weight * predicted + self.adversarial_weight * adversarial
        values = {"rebuilt": rebuilt, "predicted": predicted, "adversarial": adversarial}
        return loss, {name: value.detach() for name, value in values.items()}

    def score(self, patches: Tensor) -> Tensor:
        """Weighted sum of the two errors of (B, C, h, w): (B, h, w)."""
        rebuilt, predicted = (squared_error(patches, self.decoder(self.memory(code))) for code in self._codes(patches))
        return rebuilt + self.prediction_weight * predicted

    def _codes(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Of the patches themselves and of their neighbours: (B, K, h, w) each."""
        projected = self.project(patches)
        return self.encoder(projected), self.encoder(self.neighbours(projected))


class NeighbourConvolution(nn.Conv2d):
    """Mixes the 5 x 5 patches around each patch, without the 3 x 3 in the middle.

    The patches next to a patch were computed from much the same pixels, so they would give it away.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 5, padding=2, padding_mode="reflect", groups=width)
        self.seen: Tensor
        seen = torch.ones(5, 5)
        seen[1:4, 1:4] = 0
        self.register_buffer("seen", seen, persistent=False)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, W, h, w) to the same shape."""
        gathered: Tensor = self.mix(self._conv_forward(features, self.weight * self.seen, self.bias))
        return gathered


class Memory(nn.Module):
    """Codes of normal patches, of which only mixtures can be read (MemAE, Gong et al., ICCV 2019)."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(size, channels))
        self.least = 1 / size

    def forward(self, queries: Tensor) -> Tensor:
        """Replace each code of (B, K, h, w) by the mixture of remembered ones that it is like: the same shape."""
        tokens = queries.movedim(1, -1)
        with torch.autocast(queries.device.type, enabled=False):
            likeness = tokens.float() @ self.codes.float().T / tokens.shape[-1] ** 0.5
            weights = likeness.softmax(-1)
            weights = F.relu(weights - self.least)  # what is hardly like it has no part in it
            weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
            return (weights @ self.codes.float()).movedim(-1, 1)
