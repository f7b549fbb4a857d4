"""The structural module: what no normal patch is like, be it far from a memory of them or badly rebuilt."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet
from harmoniad.models.memory import build_bank, distance_to, patches_of
from harmoniad.models.npgmf.design import Npgmf
from harmoniad.models.npgmf.network import FusionBlock, coarser, mean_distance
from harmoniad.models.reconstruction.loss import token_distance
from harmoniad.models.training import Trainable

DRAWN_PER_KEPT = 10  # patches drawn at random for each one that the memory keeps


class PatchMemory:
    """A memory of normal patches.

    Args:
        bank: (M, D).
        grid: Side of the patch grid.
    """

    def __init__(self, bank: Tensor, grid: int) -> None:
        self.bank, self.grid = bank, grid

    @classmethod
    def build(
        cls, features: FeatureSet, indices: Sequence[int], grid: int, size: int, seed: int, device: torch.device
    ) -> "PatchMemory":
        """Remember patches of some images, as PatchCore does.

        Args:
            features: Good images.
            indices: Which of them to take.
            grid: Side of the patch grid.
            size: How many patches are kept at most.
            seed: Of the drawing and of the coreset.
            device: Where the memory is built and kept.
        """
        most, share = max(1, size) * DRAWN_PER_KEPT, 1 / DRAWN_PER_KEPT
        bank = build_bank(features, indices, grid, max_patches=most, share=share, seed=seed, device=device)
        return cls(bank, grid)

    def joined(self, other: "PatchMemory") -> "PatchMemory":
        """What both remember."""
        return PatchMemory(torch.cat([self.bank, other.bank]), self.grid)

    def anomaly_maps(self, layers: Sequence[Tensor]) -> Tensor:
        """Distance of each patch to the nearest remembered one: (B, grid, grid)."""
        patches = patches_of([layer.to(self.bank.device) for layer in layers], self.grid)
        return distance_to(self.bank, patches).unflatten(1, (self.grid, self.grid))

    def to(self, device: torch.device) -> "PatchMemory":
        """On another device."""
        return PatchMemory(self.bank.to(device), self.grid)


class StructuralNetwork(Trainable):
    """Rebuilds all levels from a map of the image that is half as wide as the deepest (reverse distillation).

    Unlike the logical module's vector the map keeps places, so it is damage that cannot pass.
    """

    def __init__(self, shapes: Sequence[Shape], design: Npgmf) -> None:
        super().__init__()
        width = design.width
        self.shapes = coarser(shapes, design.grid)
        self.join = nn.Conv2d(sum(shape[0] for shape in shapes), width, 1)
        self.embed = nn.Sequential(nn.GELU(), nn.Conv2d(width, width, 3, stride=2, padding=1), nn.GELU())
        self.blocks = nn.ModuleList(FusionBlock(shape, width, 0) for shape in self.shapes)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Predict the levels (B, D, h, w) from themselves."""
        joined = torch.cat([F.adaptive_avg_pool2d(level, self.shapes[-1][1:]) for level in levels], dim=1)
        state = self.embed(self.join(joined))
        predictions: list[Tensor] = []
        for block in reversed(self.blocks):
            state, prediction = block(state, [])
            predictions.insert(0, prediction)
        return predictions

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cosine distance of the levels to their predictions; see `levels.Seen`."""
        levels = self._pooled(layers[:-1])
        distances = [token_distance(level, p).mean() for level, p in zip(levels, self(levels), strict=True)]
        return torch.stack(distances).mean(), {}

    @torch.no_grad()
    def anomaly_maps(self, levels: Sequence[Tensor], side: int) -> Tensor:
        """1 - cosine between the levels and their predictions, the mean over the levels: (B, side, side)."""
        levels = self._pooled(levels)
        return mean_distance(levels, self(levels), side)

    def _pooled(self, levels: Sequence[Tensor]) -> list[Tensor]:
        return [F.adaptive_avg_pool2d(level, shape[1:]) for level, shape in zip(levels, self.shapes, strict=True)]
