"""The structural module: what no normal patch is like, be it far from a memory of them or badly rebuilt."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet
from harmoniad.models.memory import PATCHES_AT_ONCE, build_owned_bank, patches_of
from harmoniad.models.npgmf.design import Npgmf
from harmoniad.models.npgmf.network import FusionBlock, Levels
from harmoniad.models.reconstruction.loss import token_distance
from harmoniad.models.training import Trainable

DRAWN_PER_KEPT = 10  # patches drawn at random for each one that the memory keeps
NOBODY = -1


class PatchMemory:
    """A memory of normal patches, in which an image of the training can be looked up without finding itself.

    Args:
        bank: (M, D).
        owners: (M,), index of the image of each patch; known while the detector is fitted only.
    """

    def __init__(self, bank: Tensor, owners: Tensor) -> None:
        self.bank, self.owners = bank, owners

    @classmethod
    def build(
        cls, features: FeatureSet, owners: Sequence[int], grid: int, size: int, seed: int, device: torch.device
    ) -> "PatchMemory":
        """Remember patches of all images, as PatchCore does.

        Args:
            features: Views of good images.
            owners: Number of the image of each view.
            grid: Side of the patch grid.
            size: How many patches are kept at most.
            seed: Of the drawing and of the coreset.
            device: Where the memory is built and kept.
        """
        bank, views = build_owned_bank(
            features,
            range(len(features)),
            grid,
            max_patches=size * DRAWN_PER_KEPT,
            share=1 / DRAWN_PER_KEPT,
            seed=seed,
            device=device,
        )
        return cls(bank, torch.tensor(owners, device=device)[views])

    def distance(self, layers: Sequence[Tensor], grid: int, owner: int = NOBODY) -> Tensor:
        """Distance of each patch to the nearest remembered one, but for those of `owner`: (B, grid, grid)."""
        bank = self.bank[self.owners != owner] if owner != NOBODY else self.bank
        patches = patches_of(layers, grid)
        flat = patches.flatten(0, 1).split(PATCHES_AT_ONCE)
        nearest = torch.cat([torch.cdist(part, bank if len(bank) else self.bank).amin(1) for part in flat])
        return nearest.view(len(patches), grid, grid)


class StructuralNetwork(Trainable):
    """Rebuilds all levels from a map of the image that is half as wide as the deepest (reverse distillation).

    Unlike the logical module's vector the map keeps places, so it is damage that cannot pass.
    """

    def __init__(self, shapes: tuple[Shape, ...], design: Npgmf) -> None:
        super().__init__()
        width = design.width
        self.levels = Levels(shapes, design.grid)
        self.size = self.levels.shapes[-1][1:]
        self.join = nn.Conv2d(sum(shape[0] for shape in shapes), width, 1)
        self.embed = nn.Sequential(nn.GELU(), nn.Conv2d(width, width, 3, stride=2, padding=1), nn.GELU())
        self.blocks = nn.ModuleList(FusionBlock(shape, width, 0) for shape in self.levels.shapes)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Predict the levels (B, D, h, w) from themselves."""
        joined = torch.cat([F.adaptive_avg_pool2d(level, self.size) for level in levels], dim=1)
        state = self.embed(self.join(joined))
        predictions: list[Tensor] = []
        for block in reversed(self.blocks):
            state, prediction = block(state, [])
            predictions.insert(0, prediction)
        return predictions

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cosine distance of the levels to their predictions."""
        levels = self.levels(layers)
        distances = [token_distance(level, p).mean() for level, p in zip(levels, self(levels), strict=True)]
        return torch.stack(distances).mean(), {}

    @torch.inference_mode()
    def anomaly_maps(self, layers: Sequence[Tensor], side: int) -> Tensor:
        """1 - cosine between the levels and their predictions, the mean over the levels: (B, side, side)."""
        levels = self.levels(layers)
        size = (side, side)
        maps = [token_distance(level, p)[:, None] for level, p in zip(levels, self(levels), strict=True)]
        return torch.stack([F.interpolate(m, size=size, mode="bilinear", align_corners=False)[:, 0] for m in maps]).mean(0)
