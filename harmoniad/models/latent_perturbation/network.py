"""The two players: an autoencoder, and a distorter of its latent features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.latent_perturbation.design import LatentPerturbation
from harmoniad.models.reconstruction.patches import PatchNetwork, squared_error
from harmoniad.models.reconstruction.reversal import reversed_gradient


class LatentPerturbationNetwork(PatchNetwork):
    """The autoencoder minimises, and the distorter maximises, the error of what is rebuilt from perturbed features."""

    def __init__(self, shapes: tuple[Shape, ...], design: LatentPerturbation) -> None:
        super().__init__(shapes, design.grid)
        channels, width = self.channels[0], design.width
        self.radius = design.radius
        self.encoder = _down(channels, width, design.latent)
        self.distorter = _down(channels, width, design.latent)
        self.decoder = nn.Sequential(
            nn.Conv2d(design.latent, width, 3, padding=1),
            nn.GELU(),
            nn.Upsample(size=(self.grid, self.grid), mode="bilinear"),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, channels, 1),
        )

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The error with the perturbation and the error without it, half each."""
        patches = self.patches(layers)
        latent = unit_size(self.encoder(patches))
        perturbation = self.radius * unit_size(reversed_gradient(self.distorter(patches)))
        perturbed = squared_error(patches, self.decoder(latent + perturbation)).mean()
        plain = squared_error(patches, self.decoder(latent)).mean()
        return (perturbed + plain) / 2, {"perturbed": perturbed.detach(), "plain": plain.detach()}

    def score(self, patches: Tensor) -> Tensor:
        """What the autoencoder cannot rebuild of (B, C, h, w), without a perturbation: (B, h, w)."""
        return squared_error(patches, self.decoder(unit_size(self.encoder(patches))))


def unit_size(features: Tensor) -> Tensor:
    """Scale (B, C, h, w) so that the mean square over the channels is 1 in every place.

    Otherwise the autoencoder would win by making its features large against the perturbation, or the distorter by
    making the perturbation large.
    """
    with torch.autocast(features.device.type, enabled=False):
        return F.normalize(features.float(), dim=1) * features.shape[1] ** 0.5


def _down(channels: int, width: int, latent: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 1),
        nn.GELU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(width, latent, 1),
    )
