"""HarmoniAD as a detector."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet
from harmoniad.models.harmoniad.loss import token_distance
from harmoniad.models.harmoniad.network import HarmoniadNetwork
from harmoniad.models.harmoniad.training import train
from harmoniad.params import Harmoniad, Params, Train


class HarmoniadDetector:
    """One network over all categories; no category is ever told to it."""

    def __init__(self, shapes: tuple[Shape, ...], design: Harmoniad, optimisation: Train, seed: int) -> None:
        torch.manual_seed(seed)
        self._shapes, self._design, self._train_params, self._seed = shapes, design, optimisation, seed
        self.network = HarmoniadNetwork(shapes, design).eval()

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.harmoniad, params.train, params.seed)

    @classmethod
    def restore(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """A trained detector."""
        shapes = tuple(tuple(shape) for shape in config["shapes"])
        detector = cls(shapes, Harmoniad(**config["design"]), Train(**config["train"]), config["seed"])
        detector.network.load_state_dict(tensors)
        return detector

    def fit(self, features: FeatureSet, *, device: torch.device, checkpoint: Path) -> list[dict[str, float]]:
        """Train; see `harmoniad.models.harmoniad.training.train`."""
        return train(self.network, features, self._train_params, seed=self._seed, device=device, checkpoint=checkpoint)

    @torch.inference_mode()
    def anomaly_maps(self, layers: Sequence[Tensor], categories: Sequence[str] | None = None) -> Tensor:
        """Mean over the groups of 1 - cosine between features and prediction: (B, h, w)."""
        device = next(self.network.parameters()).device
        targets = self.network.targets([layer.to(device) for layer in layers])
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            predictions, _ = self.network(targets)
        distances = [token_distance(t, p) for t, p in zip(targets, predictions, strict=True)]
        return torch.stack(distances).mean(0)

    def to(self, device: torch.device) -> Self:
        """Move to a device."""
        self.network.to(device)
        return self

    def config(self) -> dict[str, Any]:
        """Shapes of the features, design, optimisation and seed."""
        return {
            "shapes": [list(shape) for shape in self._shapes],
            "design": self._design.model_dump(),
            "train": self._train_params.model_dump(),
            "seed": self._seed,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The network's weights."""
        return {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
