"""The frequency split of a feature map into a low and a high band."""

import math

import torch
from torch import Tensor, nn


class FrequencySplit(nn.Module):
    """A soft, learned low-pass gate in the Fourier domain of the token grid, and what it leaves.

    The gate is `g(r) = sigmoid((rho - r) / tau)` on the radial frequency r in [0, 1], with `g(0) = 1`, so the high
    band has no mean. Its radius rho and its softness tau are learned.
    """

    def __init__(self, radius: float = 0.25, softness: float = 0.05) -> None:
        super().__init__()
        # Both are learned through functions that keep them in range: rho in (0, 1), tau above 0.
        self.radius_logit = nn.Parameter(torch.tensor(math.log(radius / (1 - radius))))
        self.softness_log = nn.Parameter(torch.tensor(math.log(softness)))

    @property
    def radius(self) -> Tensor:
        """rho, the radius at which the gate is one half."""
        return self.radius_logit.sigmoid()

    def gate(self, height: int, width: int) -> Tensor:
        """The gate's value at each frequency of `rfft2`: (h, w // 2 + 1)."""
        distance = radial_frequency(height, width, self.radius_logit.device)
        gate = torch.sigmoid((self.radius - distance) / self.softness_log.exp())
        return torch.where(distance == 0, 1.0, gate)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Split (B, D, h, w) into low and high, each (B, D, h, w), with low + high = features."""
        height, width = features.shape[-2:]
        with torch.autocast(features.device.type, enabled=False):
            exact = features.float()  # cuFFT has no bfloat16
            spectrum = torch.fft.rfft2(exact, norm="ortho")
            low = torch.fft.irfft2(spectrum * self.gate(height, width), s=(height, width), norm="ortho")
            return low, exact - low


def radial_frequency(height: int, width: int, device: torch.device) -> Tensor:
    """Radius of each frequency of `rfft2`, 0 at the mean and 1 at the corner: (h, w // 2 + 1)."""
    vertical = torch.fft.fftfreq(height, device=device)
    horizontal = torch.fft.rfftfreq(width, device=device)
    return torch.sqrt(vertical[:, None] ** 2 + horizontal[None, :] ** 2) / math.sqrt(0.5)
