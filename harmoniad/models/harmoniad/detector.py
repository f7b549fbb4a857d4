"""HarmoniAD as a detector: what deviates from a memory of normal tokens, in two frequency bands, fused by merit."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from math import isqrt
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.errors import HarmoniadError
from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet, SyntheticSet
from harmoniad.models.harmoniad.design import Harmoniad
from harmoniad.models.harmoniad.deviations import Deviations
from harmoniad.models.harmoniad.earned import FusionWeights, equal_weights, learn_fusion, measure_normal
from harmoniad.models.harmoniad.entries import BATCH_SIZE, Subset, batches_of, choose, every_fourth, number_images
from harmoniad.models.harmoniad.frequency import FrequencySplit
from harmoniad.models.harmoniad.head import DeviationHead, fit_head
from harmoniad.models.harmoniad.memory import NOBODY, NormalMemory, low_tokens, tokens_of
from harmoniad.models.harmoniad.network import HarmoniadNetwork
from harmoniad.models.padim.design import Padim
from harmoniad.models.padim.detector import PadimDetector
from harmoniad.models.training import train
from harmoniad.params import Params, Train

IMAGES_AT_ONCE = 4  # that are scored: the features of more would not stay in a CPU's cache
MOST_COMPARED = 1000  # good views, and as many copies, that the head and the fusion learn from: bounds time and memory
MOST_WEIGHT = {"place": 0.25}  # it tells images apart well, but is too coarse to show where a defect is


class HarmoniadDetector:
    """One model over all categories; no category is ever told to it when it scores."""

    def __init__(self, shapes: tuple[Shape, ...], design: Harmoniad, optimisation: Train, seed: int) -> None:
        torch.manual_seed(seed)
        self._shapes, self._design, self._train_params, self._seed = shapes, design, optimisation, seed
        self._grid = max(shape[1] for shape in shapes)
        self._network = HarmoniadNetwork(shapes, design).eval() if design.reconstruction else None
        channels = min(sum(shape[0] for shape in shapes), design.memory_channels)
        self._split = _fixed_split(channels, design) if design.bands else None
        self._head = DeviationHead(channels, design).eval() if design.head else None
        self._place = PadimDetector(shapes, Padim(), seed) if design.place else None
        self._memory: NormalMemory | None = None
        self._low_memory: NormalMemory | None = None
        self._fusion = equal_weights(torch.zeros(1, len(self._map_names)), torch.ones(1, len(self._map_names)))
        self._categories: list[str] = []

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.harmoniad, params.train, params.seed)

    @classmethod
    def restore(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """A trained detector."""
        shapes = tuple(tuple(shape) for shape in config["shapes"])
        detector = cls(shapes, Harmoniad(**config["design"]), Train(**config["train"]), config["seed"])
        detector._categories = config["categories"]
        detector.start_from(tensors)
        if detector._design.memory:
            detector._memory = NormalMemory.restore(tensors, "memory")
        if detector._split is not None:
            detector._low_memory = NormalMemory.restore(tensors, "low_memory")
        if detector._design.place:
            state = {k.removeprefix("place."): v for k, v in tensors.items() if k.startswith("place.")}
            detector._place = PadimDetector.restore(config["place"], state)
        detector._fusion = FusionWeights(*(tensors[f"fusion.{name}"] for name in ("level", "excess", "weights")))
        return detector

    def start_from(self, tensors: dict[str, Tensor]) -> bool:
        """Take over the weights of head 1 and head 2; False if the design has neither."""
        for prefix, module in self._modules().items():
            state = {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}
            module.load_state_dict(state)
        return bool(self._modules())

    def fit(
        self, features: FeatureSet, *, synthetic: SyntheticSet | None = None, device: torch.device, checkpoint: Path
    ) -> list[dict[str, float]]:
        """Train head 1, fill the memory, train head 2 on the deviations from it, and earn the fusion's weights.

        Raises:
            HarmoniadError: Head 2 is wanted, and there are no copies with made defects to train it on.
        """
        if self._design.head and synthetic is None and not self._design.feature_defects:
            raise HarmoniadError(
                "detector.harmoniad.head: needs images with made defects. "
                "Set views.synthetic to 1 or more, or head to false."
            )
        self.to(device)
        self._categories = sorted(set(features.categories))
        log = self._fit_network(features, device, checkpoint) if self._network is not None else []
        if self._design.memory:
            owners = number_images(features.images, synthetic.images if synthetic else [])
            self._fill_memories(features, owners[0], device)
            log += self._fit_fusion(features, synthetic, owners, checkpoint)
        else:
            self._fusion = self._measure_without_memory(features)
        return log

    @torch.inference_mode()
    def anomaly_maps(self, layers: Sequence[Tensor], categories: Sequence[str] | None = None) -> Tensor:
        """Weighted mean of the maps, each on the scale that good images give it: (B, h, w).

        The weights are those of the category that the image's own tokens are most like; `categories` is not used.
        """
        parts = zip(*(layer.split(IMAGES_AT_ONCE) for layer in layers), strict=True)
        return torch.cat([self._fusion.fuse(*self._maps(_moved(part, self._device))) for part in parts])

    def to(self, device: torch.device) -> Self:
        """Move to a device."""
        for module in self._modules().values():
            module.to(device)
        self._memory = self._memory.to(device) if self._memory is not None else None
        self._low_memory = self._low_memory.to(device) if self._low_memory is not None else None
        self._place = self._place.to(device) if self._place is not None else None
        self._fusion = self._fusion.to(device)
        return self

    def config(self) -> dict[str, Any]:
        """Shapes of the features, design, optimisation, seed, categories, and the weight of each map for people."""
        weights = self._fusion.weights.tolist()  # of all categories together only, where there is no memory
        rows = zip([*self._categories, "any"][-len(weights) :], weights, strict=True)
        return {
            "shapes": [list(shape) for shape in self._shapes],
            "design": self._design.model_dump(),
            "train": self._train_params.model_dump(exclude={"warm_start"}),
            "seed": self._seed,
            "categories": self._categories,
            "place": self._place.config() if self._place is not None else None,
            "map_weights": {
                name: {m: round(w, 3) for m, w in zip(self._map_names, row, strict=True)} for name, row in rows
            },
        }

    def tensors(self) -> dict[str, Tensor]:
        """The networks' weights, the memory, and the fusion."""
        found = self._memory.state("memory") if self._memory is not None else {}
        found |= self._low_memory.state("low_memory") if self._low_memory is not None else {}
        for prefix, module in self._modules().items():
            found |= {f"{prefix}.{name}": tensor.contiguous() for name, tensor in module.state_dict().items()}
        if self._place is not None:
            found |= {f"place.{name}": tensor for name, tensor in self._place.tensors().items()}
        fusion = {"level": self._fusion.level, "excess": self._fusion.excess, "weights": self._fusion.weights}
        return found | {f"fusion.{name}": tensor.contiguous() for name, tensor in fusion.items()}

    @property
    def _device(self) -> torch.device:
        return self._fusion.level.device

    @property
    def _map_names(self) -> list[str]:
        design = self._design
        wanted = {
            "memory": design.memory,
            "high": design.bands,
            "head": design.head,
            "low": design.bands,
            "place": design.place,
            "reconstruction": design.reconstruction,
        }
        return [name for name, is_wanted in wanted.items() if is_wanted]

    def _modules(self) -> dict[str, torch.nn.Module]:
        found = {"network": self._network, "head": self._head}
        return {name: module for name, module in found.items() if module is not None}

    def _maps(self, layers: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """All maps (K, B, h, w) and the category (B,) of each image, if there is a memory to tell it."""
        maps, category = [], None
        if self._memory is not None:
            tokens = self._tokens(layers)
            nearest = self._memory.nearest(tokens.flatten(0, 1)).view(tokens.shape[:2])
            maps += self._maps_of_deviation(self._memory.deviation(tokens, nearest, self._grid))
            if self._low_memory is not None:
                maps.append(self._low_map(tokens))
            category = self._memory.category_of(nearest)
        return torch.stack(maps + self._maps_of_layers(layers)), category

    def _tokens(self, layers: Sequence[Tensor]) -> Tensor:
        """In the memory's channels."""
        assert self._memory is not None
        return self._memory.project(tokens_of(layers, self._grid, self._design.norm))

    def _low_map(self, tokens: Tensor, owner: int = NOBODY) -> Tensor:
        """How the low band of tokens (B, N, C) differs from that of good images: (B, h, w)."""
        assert self._low_memory is not None
        low = low_tokens(tokens, self._grid)
        distances = self._low_memory.distance(low.flatten(0, 1), owner)
        side = isqrt(low.shape[1])
        return self._on_grid(distances.view(len(tokens), 1, side, side))

    def _on_grid(self, maps: Tensor) -> Tensor:
        """Maps (B, 1, h, w) on the common grid, (B, grid, grid)."""
        return F.interpolate(maps, size=(self._grid, self._grid), mode="bilinear", align_corners=False)[:, 0]

    def _maps_of_deviation(self, deviation: Tensor) -> list[Tensor]:
        """From (B, C, h, w): its length, that of its high band, and what head 2 makes of it."""
        maps = [deviation.norm(dim=1)]
        if self._split is not None:
            maps.append(self._split(deviation)[1].norm(dim=1))
        if self._head is not None:
            maps.append(self._head(deviation)[0])
        return maps

    def _maps_of_layers(self, layers: Sequence[Tensor]) -> list[Tensor]:
        """From (B, D, h, w) for each layer: how unusual a token is at its place, and what head 1 cannot predict."""
        maps = []
        if self._place is not None:
            maps.append(self._on_grid(self._place.anomaly_maps(layers)[:, None]))
        if self._network is not None:
            maps.append(self._network.anomaly_maps(layers, self._grid))
        return maps

    def _fill_memories(self, features: FeatureSet, owners: Sequence[int], device: torch.device) -> None:
        categories = [self._categories.index(name) for name in features.categories]
        build = partial(NormalMemory.build, seed=self._seed, device=device)
        size, channels = self._design.memory_patches, self._design.memory_channels
        self._memory = build(
            features,
            lambda layers: tokens_of(layers, self._grid, self._design.norm),
            owners,
            categories,
            size=size,
            channels=channels,
        )
        if self._split is not None:
            self._low_memory = build(
                features,
                lambda layers: low_tokens(self._tokens(layers), self._grid),
                owners,
                categories,
                size=max(1, size // 2),
                channels=channels,
            )

    def _fit_network(self, features: FeatureSet, device: torch.device, checkpoint: Path) -> list[dict[str, float]]:
        assert self._network is not None
        if self._design.norm == "channel":
            self._network.measure_channels(batches_of(features, range(len(features))))
        return train(self._network, features, self._train_params, seed=self._seed, device=device, checkpoint=checkpoint)

    def _fit_fusion(
        self,
        features: FeatureSet,
        synthetic: SyntheticSet | None,
        owners: tuple[list[int], list[int]],
        checkpoint: Path,
    ) -> list[dict[str, float]]:
        """Train head 2 on three images of four, and let the fourth decide what each map is worth."""
        assert self._memory is not None
        good = choose(len(features), MOST_COMPARED, self._seed)
        made = choose(len(synthetic), MOST_COMPARED, self._seed) if synthetic else []
        deviations = Deviations(
            features, synthetic, (good, made), owners, self._memory, grid=self._grid, norm=self._design.norm
        )
        judged = every_fourth(owners[0], features.categories)
        is_judged = [owners[0][i] in judged for i in good] + [owners[1][i] in judged for i in made]
        if self._place is not None:
            others = [i for i in range(len(features)) if owners[0][i] not in judged]
            others = others if len(others) > 1 else list(range(len(features)))  # a Gaussian needs two images
            self._place.fit(Subset(features, others), device=self._device, checkpoint=checkpoint)
        log = []
        if self._head is not None:
            learned = [position for position, judges in enumerate(is_judged) if not judges]
            learned = learned or list(range(len(deviations)))  # a single image has to serve for both
            path = checkpoint.with_name(f"{checkpoint.stem}-head{checkpoint.suffix}")
            log = fit_head(
                self._head, deviations, learned, self._design, self._train_params, seed=self._seed, checkpoint=path
            )
        maps = self._training_maps(features, synthetic, deviations, good, made)
        names = [features.categories[i] for i in good] + [synthetic.categories[i] for i in made if synthetic]
        self._fusion = learn_fusion(
            maps,
            torch.tensor([self._categories.index(name) for name in names], device=self._device),
            torch.tensor(is_judged, device=self._device),
            deviations.shares(made).to(self._device),
            count=len(self._categories),
            most=[MOST_WEIGHT.get(name, 1) for name in self._map_names] if self._design.fusion == "earned" else None,
        )
        return log

    @torch.inference_mode()
    def _training_maps(
        self,
        features: FeatureSet,
        synthetic: SyntheticSet | None,
        deviations: Deviations,
        good: Sequence[int],
        made: Sequence[int],
    ) -> Tensor:
        """Maps (K, N, h, w) of good views and of copies, each compared with the other images only."""
        parts = []
        for start in range(0, len(deviations), BATCH_SIZE):
            indices = range(start, min(start + BATCH_SIZE, len(deviations)))
            parts.append(torch.stack(self._maps_of_deviation(deviations.batch(indices)[0])))
        maps = torch.cat(parts, dim=1)
        if self._low_memory is not None:
            low = torch.cat([self._low_map(*deviations.tokens(position)) for position in range(len(deviations))])
            maps = torch.cat([maps, low[None]])
        if self._place is not None or self._network is not None:
            batches = chain(batches_of(features, good), batches_of(synthetic, made) if synthetic else [])
            others = [torch.stack(self._maps_of_layers(_moved(layers, maps.device))) for layers in batches]
            maps = torch.cat([maps, torch.cat(others, dim=1)])
        return maps

    @torch.inference_mode()
    def _measure_without_memory(self, features: FeatureSet) -> FusionWeights:
        indices = choose(len(features), MOST_COMPARED, self._seed)
        batches = batches_of(features, indices)
        maps = torch.cat([self._maps(_moved(layers, self._device))[0] for layers in batches], dim=1)
        return equal_weights(*measure_normal(maps, torch.zeros(maps.shape[1], device=self._device), 0))


def _fixed_split(channels: int, design: Harmoniad) -> FrequencySplit:
    """The gate as it starts: the bands' own maps are not trained."""
    kind = "soft" if design.gate == "content" else design.gate
    return FrequencySplit(channels, design.gate_radius, design.gate_softness, kind).requires_grad_(False)


def _moved(layers: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    return [layer.to(device) for layer in layers]
