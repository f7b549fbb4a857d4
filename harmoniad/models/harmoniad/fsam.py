"""FSAM, the fine-grained structural attention module of the high path."""

import torch
from torch import Tensor, nn


class FineStructureAttention(nn.Module):
    """Looks for texture and edges at three scales and says where and in which channels they matter."""

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width) for dilation in (1, 2, 3)
        )
        self.mix = nn.Sequential(nn.Conv2d(3 * width, width, 1), nn.GELU())
        self.where = nn.Conv2d(2, 1, 7, padding=3)
        hidden = max(width // reduction, 4)
        self.which = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, width, 1))
        self.scale = nn.Parameter(torch.zeros(1))  # the module starts as the identity

    def forward(self, high: Tensor) -> Tensor:
        """Refine the high band (B, D, h, w); same shape."""
        texture = self.mix(torch.cat([scale(high) for scale in self.scales], dim=1))
        strength = high.abs()
        summary = torch.cat([strength.mean(1, keepdim=True), strength.amax(1, keepdim=True)], dim=1)
        spatial = self.where(summary).sigmoid()
        channel = self.which(texture.mean((2, 3), keepdim=True)).sigmoid()
        return high + self.scale * spatial * channel * texture
