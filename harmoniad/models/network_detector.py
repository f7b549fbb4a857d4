"""A detector that is one network, trained by gradient on the features of good images, and nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet, SyntheticSet
from harmoniad.models.training import Trainable, train
from harmoniad.params import Params, Train
from harmoniad.section import Section

BATCH_SIZE = 16

Design = TypeVar("Design", bound=Section)


class ScoringNetwork(Trainable):
    """A network that can be trained and that scores tokens."""

    def prepare(self, batches: Iterable[Sequence[Tensor]]) -> None:
        """Learn constants, such as the mean of each channel, from all training features before the first step.

        Args:
            batches: Lists of (B, D, h, w) for each layer; read once if at all.
        """

    @abstractmethod
    def anomaly_maps(self, layers: Sequence[Tensor], side: int) -> Tensor:
        """Score every token.

        Args:
            layers: (B, D, h, w) for each layer, on the network's device.
            side: Of the map.

        Returns:
            Raw anomaly scores (B, side, side).
        """


class NetworkDetector(ABC, Generic[Design]):
    """One network over all categories; no category is ever told to it."""

    design_class: type[Design]

    def __init__(self, shapes: tuple[Shape, ...], design: Design, optimisation: Train, seed: int) -> None:
        torch.manual_seed(seed)
        self._shapes, self._design, self._train_params, self._seed = shapes, design, optimisation, seed
        self._fine_grid = max(shape[1] for shape in shapes)
        self._network = self._build(shapes, design).eval()

    @abstractmethod
    def _build(self, shapes: tuple[Shape, ...], design: Design) -> ScoringNetwork:
        """An untrained network."""

    @classmethod
    @abstractmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""

    @classmethod
    def restore(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """A trained detector."""
        detector = cls(**cls._arguments(config))
        detector._network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items()})
        return detector

    @classmethod
    def _arguments(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the constructor from what `config` gave."""
        return {
            "shapes": tuple(tuple(shape) for shape in config["shapes"]),
            "design": cls.design_class(**config["design"]),
            "optimisation": Train(**config["train"]),
            "seed": config["seed"],
        }

    def start_from(self, tensors: dict[str, Tensor]) -> bool:
        """Take over the network's weights."""
        self._network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items()})
        return True

    def fit(
        self, features: FeatureSet, *, synthetic: SyntheticSet | None = None, device: torch.device, checkpoint: Path
    ) -> list[dict[str, float]]:
        """Train the network on all images."""
        starts = range(0, len(features), BATCH_SIZE)
        self._network.prepare(features.batch(range(start, min(start + BATCH_SIZE, len(features)))) for start in starts)
        return train(self._network, features, self._train_params, seed=self._seed, device=device, checkpoint=checkpoint)

    @torch.inference_mode()
    def anomaly_maps(self, layers: Sequence[Tensor], categories: Sequence[str] | None = None) -> Tensor:
        """The network's scores on the finest grid: (B, h, w)."""
        device = next(self._network.parameters()).device
        return self._network.anomaly_maps([layer.to(device) for layer in layers], self._fine_grid)

    def to(self, device: torch.device) -> Self:
        """Move to a device."""
        self._network.to(device)
        return self

    def config(self) -> dict[str, Any]:
        """Shapes of the features, design, optimisation and seed."""
        return {
            "shapes": [list(shape) for shape in self._shapes],
            "design": self._design.model_dump(),
            "train": self._train_params.model_dump(exclude={"warm_start"}),
            "seed": self._seed,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The network's weights."""
        return {f"network.{name}": tensor.contiguous() for name, tensor in self._network.state_dict().items()}
