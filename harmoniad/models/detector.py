"""The shape that every detector has: it sees features and gives maps; it knows no file, no MLflow and no Prefect."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from harmoniad.errors import HarmoniadError
from harmoniad.features.cache import Shape
from harmoniad.models.designs import DETECTORS, class_prefix
from harmoniad.params import Params


class FeatureSet(Protocol):
    """Features of some views of images, such as `harmoniad.features.dataset.CachedFeatures`."""

    @property
    def images(self) -> Sequence[str]:
        """SHA-256 of the image of each entry: entries of one image are views of it, and belong together."""

    @property
    def categories(self) -> Sequence[str]:
        """Category of each entry."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(D, h, w) of each layer."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        """For each layer a float32 tensor (B, D, h, w)."""


class SyntheticSet(FeatureSet, Protocol):
    """Features of copies of training images to which defects were added."""

    def masks(self, indices: Sequence[int]) -> Tensor:
        """Share of each cell that is defective: (B, g, g) float32; g need not be the grid of a layer."""


class Detector(Protocol):
    """A method of anomaly detection on features."""

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector for features of these shapes."""

    @classmethod
    def restore(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """A trained detector from what `config` and `tensors` gave."""

    def fit(
        self, features: FeatureSet, *, synthetic: SyntheticSet | None = None, device: torch.device, checkpoint: Path
    ) -> list[dict[str, float]]:
        """Learn what is normal from features of good images.

        Args:
            features: The training images of all categories.
            synthetic: Copies of them with made defects, if there are any.
            device: Where to compute.
            checkpoint: A file from which an interrupted training goes on, and which it keeps up to date.

        Returns:
            The training log, a row a step; empty for a detector that is not trained by gradient.
        """

    def anomaly_maps(self, layers: Sequence[Tensor], categories: Sequence[str] | None = None) -> Tensor:
        """Score every token.

        Args:
            layers: Tensor (B, D, h, w) for each layer.
            categories: Category of each image, where a detector wants to know it.

        Returns:
            Raw anomaly scores (B, h, w), on the detector's device.
        """

    def to(self, device: torch.device) -> Self:
        """Move to a device."""

    def config(self) -> dict[str, Any]:
        """What `restore` needs besides the tensors, as JSON."""

    def tensors(self) -> dict[str, Tensor]:
        """What was learned."""


def detector_class(name: str) -> type[Detector]:
    """Find a detector by the name that stands in `params.yaml`.

    Raises:
        HarmoniadError: There is none of that name.
    """
    if name not in DETECTORS:
        raise HarmoniadError(f"detector.name: no detector `{name}`. Known: {', '.join(DETECTORS)}.")
    found: type[Detector] = getattr(import_module(f"harmoniad.models.{name}.detector"), f"{class_prefix(name)}Detector")
    return found
