"""GSCM, the global structural context module of the low path."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.models.reconstruction.attention import Block


class GlobalContext(nn.Module):
    """Relates distant parts of the image to each other, on a grid of half the size: the low band has no more detail."""

    def __init__(self, width: int, heads: int, blocks: int = 2) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.scale = nn.Parameter(torch.zeros(1))  # the module starts as the identity

    def forward(self, low: Tensor) -> Tensor:
        """Refine the low band (B, D, h, w); same shape."""
        pooled = F.avg_pool2d(low, 2, ceil_mode=True, count_include_pad=False)
        height, width = pooled.shape[-2:]
        tokens = pooled.flatten(2).transpose(1, 2) + position_code(height, width, low.shape[1], low.device)
        context = self.blocks(tokens).transpose(1, 2).unflatten(2, (height, width))
        return low + self.scale * F.interpolate(context, size=low.shape[-2:], mode="bilinear", align_corners=False)


def position_code(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Fixed sine and cosine code of the place in the grid: (h * w, channels), with channels divisible by 4."""
    frequencies = 100.0 ** (-torch.arange(channels // 4, device=device) / (channels // 4))
    rows = torch.arange(height, device=device)[:, None] * frequencies
    columns = torch.arange(width, device=device)[:, None] * frequencies
    row_code = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, width, -1)
    column_code = torch.cat([columns.sin(), columns.cos()], dim=1)[None].expand(height, -1, -1)
    return torch.cat([row_code, column_code], dim=2).reshape(height * width, channels)
