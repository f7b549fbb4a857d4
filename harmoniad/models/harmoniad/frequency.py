"""The frequency split of a feature map into a low and a high band."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

Gate = Literal["soft", "hard", "gaussian", "content"]


class FrequencySplit(nn.Module):
    """A low-pass gate in the Fourier domain of the token grid, and what it leaves.

    The gate g is a function of the radial frequency r in [0, 1] with `g(0) = 1`, so the high band has no mean:

    - `soft`: `sigmoid((rho - r) / tau)`; the radius rho and the softness tau are learned.
    - `hard`: 1 where `r < rho`, else 0; fixed.
    - `gaussian`: `exp(-r^2 / (2 rho^2))`; fixed.
    - `content`: like `soft`, and the image shifts the radius: a linear function of the strength of its channels is
      added to rho before the sigmoid that keeps it in range.
    """

    def __init__(self, channels: int, radius: float = 0.25, softness: float = 0.05, kind: Gate = "soft") -> None:
        super().__init__()
        self.kind = kind
        is_learned = kind in ("soft", "content")
        # Both are learned through functions that keep them in range: rho in (0, 1), tau above 0.
        self.radius_logit = nn.Parameter(torch.tensor(math.log(radius / (1 - radius))), requires_grad=is_learned)
        self.softness_log = nn.Parameter(torch.tensor(math.log(softness)), requires_grad=is_learned)
        if kind == "content":
            self.shift = nn.Linear(channels, 1)
            nn.init.zeros_(self.shift.weight)  # starts as the soft gate
            nn.init.zeros_(self.shift.bias)

    @property
    def radius(self) -> Tensor:
        """rho of an image whose content does not shift it."""
        return self.radius_logit.sigmoid()

    def gate(self, features: Tensor) -> Tensor:
        """The gate's value at each frequency of `rfft2` of (B, D, h, w): (1 or B, 1, h, w // 2 + 1)."""
        distance = radial_frequency(features.shape[-2], features.shape[-1], features.device)
        if self.kind == "hard":
            gate = (distance < self.radius).float()
        elif self.kind == "gaussian":
            gate = torch.exp(-0.5 * (distance / self.radius) ** 2)
        else:
            gate = torch.sigmoid((self._radius_of(features) - distance) / self.softness_log.exp())
        gate = torch.where(distance == 0, 1.0, gate)
        return gate.view(-1, 1, *distance.shape)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Split (B, D, h, w) into low and high, each (B, D, h, w), with low + high = features."""
        height, width = features.shape[-2:]
        with torch.autocast(features.device.type, enabled=False):
            exact = features.float()  # cuFFT has no bfloat16
            spectrum = torch.fft.rfft2(exact, norm="ortho")
            low = torch.fft.irfft2(spectrum * self.gate(exact), s=(height, width), norm="ortho")
            return low, exact - low

    def _radius_of(self, features: Tensor) -> Tensor:
        if self.kind != "content":
            return self.radius
        strength = features.abs().mean((2, 3))
        strength = strength / strength.mean(1, keepdim=True).clamp(min=1e-6)
        return (self.radius_logit + self.shift(strength)).sigmoid().view(-1, 1, 1)


def radial_frequency(height: int, width: int, device: torch.device) -> Tensor:
    """Radius of each frequency of `rfft2`, 0 at the mean and 1 at the corner: (h, w // 2 + 1)."""
    vertical = torch.fft.fftfreq(height, device=device)
    horizontal = torch.fft.rfftfreq(width, device=device)
    return torch.sqrt(vertical[:, None] ** 2 + horizontal[None, :] ** 2) / math.sqrt(0.5)
