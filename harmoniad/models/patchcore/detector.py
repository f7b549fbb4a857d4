"""PatchCore as a detector: distance of each patch to the nearest of a bank of normal patches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.errors import HarmoniadError
from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet
from harmoniad.models.patchcore.coreset import greedy_coreset
from harmoniad.params import Params, Patchcore
from harmoniad.progress import Progress

JOINT = "all categories"
PATCHES_AT_ONCE = 4096


class PatchcoreDetector:
    """One bank over all categories, or one a category."""

    def __init__(self, shapes: tuple[Shape, ...], design: Patchcore, seed: int) -> None:
        self._shapes, self._design, self._seed = shapes, design, seed
        self._grid = max(shape[1] for shape in shapes)
        self._banks: dict[str, Tensor] = {}

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """A detector with empty banks."""
        return cls(shapes, params.detector.patchcore, params.seed)

    @classmethod
    def restore(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """A detector with its banks."""
        shapes = tuple(tuple(shape) for shape in config["shapes"])
        detector = cls(shapes, Patchcore(**config["design"]), config["seed"])
        detector._banks = {name: tensors[f"bank.{index}"] for index, name in enumerate(config["banks"])}
        return detector

    def fit(self, features: FeatureSet, *, device: torch.device, checkpoint: Path) -> list[dict[str, float]]:
        """Fill the banks. Memory: `max_patches` patches, whatever the number of images."""
        members: dict[str, list[int]] = {}
        for index, category in enumerate(features.categories):
            members.setdefault(JOINT if self._design.joint else category, []).append(index)
        for name, indices in sorted(members.items()):
            generator = torch.Generator().manual_seed(self._seed)
            patches = self._draw(features, indices, generator).to(device)
            count = max(1, round(self._design.coreset * len(patches)))
            self._banks[name] = patches[greedy_coreset(patches, count, generator).to(device)]
        return []

    @torch.inference_mode()
    def anomaly_maps(self, layers: Sequence[Tensor], categories: Sequence[str] | None = None) -> Tensor:
        """Euclidean distance to the nearest patch of the bank: (B, h, w).

        Raises:
            HarmoniadError: The banks are one a category, and a category is not given or has none.
        """
        device = next(iter(self._banks.values())).device
        patches = self._patches([layer.to(device) for layer in layers])
        maps = []
        for image, category in zip(patches, categories or [JOINT] * len(patches), strict=True):
            maps.append(_nearest(image, self._bank(category)).view(self._grid, self._grid))
        return torch.stack(maps)

    def to(self, device: torch.device) -> Self:
        """Move to a device."""
        self._banks = {name: bank.to(device) for name, bank in self._banks.items()}
        return self

    def config(self) -> dict[str, Any]:
        """Shapes of the features, design, seed and the names of the banks."""
        return {
            "shapes": [list(shape) for shape in self._shapes],
            "design": self._design.model_dump(),
            "seed": self._seed,
            "banks": sorted(self._banks),
        }

    def tensors(self) -> dict[str, Tensor]:
        """The banks, in the order of `config()["banks"]`."""
        return {f"bank.{i}": self._banks[name].cpu().contiguous() for i, name in enumerate(sorted(self._banks))}

    def _bank(self, category: str) -> Tensor:
        if self._design.joint:
            return self._banks[JOINT]
        if category not in self._banks:
            known = ", ".join(sorted(self._banks))
            raise HarmoniadError(f"patchcore: no memory bank for category `{category}`. Known: {known}.")
        return self._banks[category]

    def _draw(self, features: FeatureSet, indices: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw as many patches from each image as fit into `max_patches`: (N, D)."""
        drawn = []
        each = max(1, min(self._grid**2, self._design.max_patches // len(indices)))
        with Progress("patches", len(indices), "images") as progress:
            for index in indices[: self._design.max_patches]:
                patches = self._patches(features.batch([index]))[0]
                chosen = torch.randperm(len(patches), generator=generator)[:each]
                drawn.append(patches[chosen])
                progress.advance()
        return torch.cat(drawn)

    def _patches(self, layers: Sequence[Tensor]) -> Tensor:
        """Pool each layer over 3 x 3 neighbours, bring all to the finest grid, join: (B, h * w, D)."""
        size = (self._grid, self._grid)
        pooled = [F.avg_pool2d(layer.float(), 3, stride=1, padding=1) for layer in layers]
        resized = [F.interpolate(layer, size=size, mode="bilinear", align_corners=False) for layer in pooled]
        return torch.cat(resized, dim=1).flatten(2).transpose(1, 2)


def _nearest(patches: Tensor, bank: Tensor) -> Tensor:
    """Distance of each of (N, D) to its nearest row of (M, D): (N,)."""
    return torch.cat([torch.cdist(part, bank).amin(1) for part in patches.split(PATCHES_AT_ONCE)])
