"""PatchCore as a detector: distance of each patch to the nearest of a bank of normal patches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from harmoniad.errors import HarmoniadError
from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet, SyntheticSet
from harmoniad.models.memory import build_bank, distance_to, patches_of
from harmoniad.models.patchcore.design import Patchcore
from harmoniad.params import Params

JOINT = "all categories"


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

    def fit(
        self, features: FeatureSet, *, synthetic: SyntheticSet | None = None, device: torch.device, checkpoint: Path
    ) -> list[dict[str, float]]:
        """Fill the banks. Memory: `max_patches` patches, whatever the number of images."""
        members: dict[str, list[int]] = {}
        for index, category in enumerate(features.categories):
            members.setdefault(JOINT if self._design.joint else category, []).append(index)
        for name, indices in sorted(members.items()):
            self._banks[name] = build_bank(
                features,
                indices,
                self._grid,
                max_patches=self._design.max_patches,
                share=self._design.coreset,
                seed=self._seed,
                device=device,
            )
        return []

    @torch.inference_mode()
    def anomaly_maps(self, layers: Sequence[Tensor], categories: Sequence[str] | None = None) -> Tensor:
        """Euclidean distance to the nearest patch of the bank: (B, h, w).

        Raises:
            HarmoniadError: The banks are one a category, and a category is not given or has none.
        """
        device = next(iter(self._banks.values())).device
        patches = patches_of([layer.to(device) for layer in layers], self._grid)
        maps = []
        for image, category in zip(patches, categories or [JOINT] * len(patches), strict=True):
            maps.append(distance_to(self._bank(category), image).view(self._grid, self._grid))
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
