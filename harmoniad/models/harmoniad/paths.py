"""The two frequency paths: split, FSAM on the high band, GSCM on the low band, fusion."""

import torch
from torch import Tensor, nn

from harmoniad.models.harmoniad.design import Harmoniad
from harmoniad.models.harmoniad.frequency import FrequencySplit
from harmoniad.models.harmoniad.fsam import FineStructureAttention
from harmoniad.models.harmoniad.gscm import GlobalContext


class Fusion(nn.Module):
    """FSAM on high, GSCM on low, and a share of each at every place and in every channel."""

    def __init__(self, design: Harmoniad) -> None:
        super().__init__()
        self.high_path = FineStructureAttention(design.width) if design.fsam else nn.Identity()
        self.low_path = GlobalContext(design.width, design.heads) if design.gscm else nn.Identity()
        self.share = nn.Conv2d(2 * design.width, design.width, 1)

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Two bands (B, W, h, w) to one of the same shape, and the mean share of the high path (a scalar)."""
        high, low = self.high_path(high), self.low_path(low)
        alpha = self.share(torch.cat([high, low], dim=1)).sigmoid()
        return alpha * high + (1 - alpha) * low, alpha.mean()


class DualPath(nn.Module):
    """One group of layers on the reconstruction's student side."""

    def __init__(self, design: Harmoniad) -> None:
        super().__init__()
        self.split = FrequencySplit(design.width, design.gate_radius, design.gate_softness, design.gate)
        self.fusion = Fusion(design)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, W, h, w) to the fused features of the same shape, and the mean share of the high path (a scalar)."""
        low, high = self.split(features)
        fused: tuple[Tensor, Tensor] = self.fusion(low, high)
        return fused
