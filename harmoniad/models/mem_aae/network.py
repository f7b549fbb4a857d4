"""One autoencoder for two tasks, with a memory in its middle and a discriminator at its side."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.mem_aae.design import MemAae
from harmoniad.models.reconstruction.patches import PatchNetwork, squared_error
from harmoniad.models.reconstruction.reversal import reversed_gradient

TEMPERATURE = 0.1  # of the look-up, by cosine


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
        self.memory = Memory(design.memory, design.latent, design.parts)
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
        codes = self.codes(patches)
        rebuilt, predicted = (squared_error(patches, self.decoder(self.memory(code))).mean() for code in codes)
        adversarial = self.loss_of_discriminator(codes[0])
        loss = rebuilt + self.prediction_weight * predicted + self.adversarial_weight * adversarial
        values = {"rebuilt": rebuilt, "predicted": predicted, "adversarial": adversarial}
        return loss, {name: value.detach() for name, value in values.items()}

    def loss_of_discriminator(self, codes: Tensor) -> Tensor:
        """Cross entropy of telling codes (B, K, h, w) from a normal distribution; their maker makes it larger."""
        told = self.discriminator(reversed_gradient(codes))
        drawn = self.discriminator(torch.randn_like(codes))
        return (F.softplus(told) + F.softplus(-drawn)).mean()

    def score(self, patches: Tensor) -> Tensor:
        """Weighted sum of the two errors of (B, C, h, w): (B, h, w)."""
        rebuilt, predicted = (squared_error(patches, self.decoder(self.memory(code))) for code in self.codes(patches))
        return rebuilt + self.prediction_weight * predicted

    def codes(self, patches: Tensor) -> tuple[Tensor, Tensor]:
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
    """Codes of normal patches, of which only mixtures can be read (MemAE, Gong et al., ICCV 2019).

    A code has several parts, which are looked up one by one: few remembered codes then stand for many patches.
    """

    def __init__(self, size: int, channels: int, parts: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(parts, size, channels // parts))
        self.least = 1 / size

    def forward(self, queries: Tensor) -> Tensor:
        """Replace each part of each code of (B, K, h, w) by the mixture of remembered ones like it: the same shape."""
        parts = len(self.codes)
        batch, _, height, width = queries.shape
        asked = queries.movedim(1, -1).flatten(0, 2).unflatten(1, (parts, -1)).transpose(0, 1)
        with torch.autocast(queries.device.type, enabled=False):
            likeness = F.normalize(asked.float(), dim=2) @ F.normalize(self.codes.float(), dim=2).transpose(1, 2)
            weights = (likeness / TEMPERATURE).softmax(2)
            weights = F.relu(weights - self.least)  # what is hardly like it has no part in it
            mixed = (weights @ self.codes.float()) / weights.sum(2, keepdim=True).clamp(min=1e-12)
        return mixed.transpose(0, 1).reshape(batch, height, width, -1).movedim(-1, 1)
