"""HarmoniAD as a detector: reconstruction through the two frequency paths, fused with a memory of normal patches."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet, SyntheticSet
from harmoniad.models.harmoniad.network import HarmoniadNetwork
from harmoniad.models.memory import build_bank, distance_to, patches_of
from harmoniad.models.reconstruction.training import train
from harmoniad.params import Harmoniad, Params, Train

CALIBRATION_SHARE = 10  # every tenth training image is kept back to put the two maps on one scale
DRAWN_PER_KEPT = 10  # patches drawn at random for each one that the memory keeps
BATCH_SIZE = 16


class HarmoniadDetector:
    """One network and one memory over all categories; no category is ever told to them."""

    def __init__(self, shapes: tuple[Shape, ...], design: Harmoniad, optimisation: Train, seed: int) -> None:
        torch.manual_seed(seed)
        self._shapes, self._design, self._train_params, self._seed = shapes, design, optimisation, seed
        self._fine_grid = max(shape[1] for shape in shapes)
        self._network = HarmoniadNetwork(shapes, design).eval()
        self._bank = torch.zeros(0)
        # Mean and standard deviation of each map on normal images that neither was fitted to: (maps, 2).
        self._scale = torch.tensor([[0.0, 1.0]] * (2 if design.memory else 1))

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.harmoniad, params.train, params.seed)

    @classmethod
    def restore(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """A trained detector."""
        shapes = tuple(tuple(shape) for shape in config["shapes"])
        detector = cls(shapes, Harmoniad(**config["design"]), Train(**config["train"]), config["seed"])
        network = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
        detector._network.load_state_dict(network)
        detector._bank, detector._scale = tensors["memory.bank"], tensors["memory.scale"]
        return detector

    def fit(
        self, features: FeatureSet, *, synthetic: SyntheticSet | None = None, device: torch.device, checkpoint: Path
    ) -> list[dict[str, float]]:
        """Train the network, fill the memory, and put both maps on one scale."""
        kept_back = list(range(0, len(features), CALIBRATION_SHARE)) if len(features) >= CALIBRATION_SHARE else []
        fitted = sorted(set(range(len(features))) - set(kept_back))
        if self._design.norm == "channel":
            self._network.measure_channels(_batches(features, fitted))
        log = train(
            self._network,
            _Subset(features, fitted),
            self._train_params,
            seed=self._seed,
            device=device,
            checkpoint=checkpoint,
        )
        self.to(device)
        if self._design.memory:
            drawn = self._design.memory_patches * DRAWN_PER_KEPT
            self._bank = build_bank(
                features,
                fitted,
                self._fine_grid,
                max_patches=drawn,
                share=1 / DRAWN_PER_KEPT,
                seed=self._seed,
                device=device,
            )
        self._scale = self._measure_scale(features, kept_back or fitted)
        return log

    @torch.inference_mode()
    def anomaly_maps(self, layers: Sequence[Tensor], categories: Sequence[str] | None = None) -> Tensor:
        """Weighted mean of the maps, each in standard deviations of normal images above their mean: (B, h, w)."""
        maps = self._raw_maps([layer.to(self._scale.device) for layer in layers])
        mean, deviation = self._scale.view(-1, 2, 1, 1, 1).unbind(1)
        scaled = (maps - mean) / deviation
        if not self._design.memory:
            return scaled[0]
        return torch.lerp(scaled[0], scaled[1], self._design.memory_weight)

    def to(self, device: torch.device) -> Self:
        """Move to a device."""
        self._network.to(device)
        self._bank, self._scale = self._bank.to(device), self._scale.to(device)
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
        """The network's weights, the memory, and the scale of the maps."""
        network = {f"network.{name}": tensor.contiguous() for name, tensor in self._network.state_dict().items()}
        return {**network, "memory.bank": self._bank.contiguous(), "memory.scale": self._scale.contiguous()}

    def _raw_maps(self, layers: Sequence[Tensor]) -> Tensor:
        """The reconstruction's map and, where there is one, the memory's, on the finest grid: (maps, B, h, w)."""
        maps = [self._network.anomaly_maps(layers, self._fine_grid)]
        if self._design.memory:
            maps.append(distance_to(self._bank, patches_of(layers, self._fine_grid)).view_as(maps[0]))
        return torch.stack(maps)

    @torch.no_grad()
    def _measure_scale(self, features: FeatureSet, indices: Sequence[int]) -> Tensor:
        device = self._scale.device
        maps = [self._raw_maps([layer.to(device) for layer in layers]) for layers in _batches(features, indices)]
        pixels = torch.cat(maps, dim=1).flatten(1)
        return torch.stack([pixels.mean(1), pixels.std(1).clamp(min=1e-6)], dim=1)


class _Subset:
    """Some images of a set of features."""

    def __init__(self, features: FeatureSet, indices: Sequence[int]) -> None:
        self._features, self._indices = features, indices
        self.shapes = features.shapes
        self.images = [features.images[index] for index in indices]
        self.categories = [features.categories[index] for index in indices]

    def __len__(self) -> int:
        return len(self._indices)

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        return self._features.batch([self._indices[index] for index in indices])


def _batches(features: FeatureSet, indices: Sequence[int]) -> Iterator[list[Tensor]]:
    for start in range(0, len(indices), BATCH_SIZE):
        yield features.batch(indices[start : start + BATCH_SIZE])
