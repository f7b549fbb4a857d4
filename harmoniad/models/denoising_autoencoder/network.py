"""The network, and how features are corrupted for it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.denoising_autoencoder.design import DenoisingAutoencoder
from harmoniad.models.reconstruction.patches import PatchNetwork, squared_error


class DenoisingAutoencoderNetwork(PatchNetwork):
    """Gives back normal patches as they are and replaces others by what fits their surroundings."""

    def __init__(self, shapes: tuple[Shape, ...], design: DenoisingAutoencoder) -> None:
        super().__init__(shapes, design.grid)
        self.corrupted_share, self.corrupted_weight = design.corrupted_share, design.corrupted_weight
        channels, width = self.channels[0], design.width
        self.repair = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            *(DilatedBlock(width, 2**index) for index in range(design.blocks)),
            nn.Conv2d(width, channels, 1),
        )

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error where patches were corrupted, and where they were not, weighted."""
        patches = self.patches(layers)
        corrupted, opacity = corrupt(patches, self.corrupted_share)
        error = squared_error(patches, self.repair(corrupted))
        touched = (opacity > 0).float()
        repaired = (error * touched).sum() / touched.sum().clamp(min=1)
        kept = (error * (1 - touched)).sum() / (1 - touched).sum().clamp(min=1)
        loss = self.corrupted_weight * repaired + (1 - self.corrupted_weight) * kept
        return loss, {"repaired": repaired.detach(), "kept": kept.detach()}

    def score(self, patches: Tensor) -> Tensor:
        """How much the network changes each patch of (B, C, h, w): (B, h, w)."""
        return squared_error(patches, self.repair(patches))


class DilatedBlock(nn.Module):
    """A residual block that looks ever further around."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(1, width),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, padding_mode="reflect"),
            nn.GELU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, W, h, w) to the same shape."""
        changed: Tensor = self.layers(features)
        return features + changed


def corrupt(patches: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Lay foreign features over connected parts of each image, more or less opaque.

    The foreign ones are patches of another image of the batch from another place, or noise of the channels' own size.

    Args:
        patches: (B, C, h, w), each channel with deviation 1.
        share: Of the patches to corrupt, on average.

    Returns:
        The corrupted patches, and the opacity (B, h, w) of what was laid over them.
    """
    batch, _, height, width = patches.shape
    device = patches.device
    shift = (int(torch.randint(height, ())), int(torch.randint(width, ())))
    foreign = patches.roll(1, 0).roll(shift, (2, 3))
    is_noise = torch.rand(batch, 1, 1, 1, device=device) < 0.5
    foreign = torch.where(is_noise, torch.randn_like(patches), foreign)
    opacity = blobs(batch, height, width, share).to(device) * torch.empty(batch, 1, 1, device=device).uniform_(0.3, 1)
    return patches + opacity.unsqueeze(1) * (foreign - patches), opacity


def blobs(count: int, height: int, width: int, share: float) -> Tensor:
    """Random connected shapes of random size, which cover up to twice `share` of a grid: (count, h, w) of 0 and 1."""
    coarse = max(3, min(height, width) // 4)
    noise = F.interpolate(torch.randn(count, 1, coarse, coarse), size=(height, width), mode="bicubic")[:, 0]
    covered = torch.rand(count) * min(2 * share, 0.95)
    heights = noise.flatten(1).sort(descending=True).values
    limit = heights.gather(1, (covered * height * width).long()[:, None])
    return (noise > limit[:, :, None]).float()
