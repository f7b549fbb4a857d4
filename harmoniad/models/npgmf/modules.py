"""The logical and the structural module of some categories, trained apart and fused on held-out normal images."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet
from harmoniad.models.harmoniad.entries import Subset, choose, every_fourth, number_images
from harmoniad.models.npgmf.composition import Composition
from harmoniad.models.npgmf.design import Npgmf
from harmoniad.models.npgmf.fusion import Scale, fuse, measure_maps
from harmoniad.models.npgmf.levels import MAX_GRID, Levels, Seen
from harmoniad.models.npgmf.network import LogicalNetwork
from harmoniad.models.npgmf.structural import PatchMemory, StructuralNetwork
from harmoniad.models.training import Trainable, train
from harmoniad.params import Train

MOST_JUDGED = 600  # images that the maps are measured on
STARTING_IMAGES = 32  # from whose tokens the decoder's codes start

Log = list[dict[str, float]]


class Modules:
    """All that is learned from the images of some categories.

    Args:
        shapes: Of the layers.
        design: The knobs.
        text: (categories, E), what the text tower makes of the names; None where there is no such prior.
        categories: How many there are.
        seed: Of all that is drawn.
    """

    def __init__(
        self, shapes: tuple[Shape, ...], design: Npgmf, text: Tensor | None, categories: int, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self._design, self._categories, self._seed = design, categories, seed
        self._side = min(MAX_GRID, max(shape[1] for shape in shapes))
        self._levels = Levels(shapes, categories)
        self._logical = LogicalNetwork(self._levels.shapes, design, text, categories) if design.logical else None
        rebuilds = design.structural == "reconstruction"
        self._structural = StructuralNetwork(self._levels.shapes, design) if rebuilds else None
        self._memory: PatchMemory | None = None
        self._composition: Composition | None = None
        self._scales: dict[str, Scale] = {}
        for network in self._networks().values():
            network.eval()

    def fit(
        self, features: FeatureSet, category: Tensor, optimisation: Train, *, device: torch.device, checkpoint: Path
    ) -> Log:
        """Train the networks and fill the memory with three images of four, and measure all maps on the fourth.

        The compositions need no images of their own for that: an image is compared with others only.

        Args:
            features: Good images.
            category: (n,), the number of the category of each.
            optimisation: Of the networks.
            device: Where to compute.
            checkpoint: Of an interrupted training; each network has its own beside it.
        """
        self.to(device)
        category = category.to(device)
        owners, _ = number_images(features.images, [])
        held_out = every_fourth(owners, features.categories)
        learned = [index for index in range(len(features)) if owners[index] not in held_out]
        judged = [index for index in range(len(features)) if owners[index] in held_out] or learned
        self._levels.measure(features, category)
        seen = Seen(features, self._levels, category)
        log = self._train(Subset(seen, learned), optimisation, device, checkpoint)
        torch.manual_seed(self._seed)
        if self._design.composition and self._design.codebooks:
            self._composition, strange = Composition.fit(
                seen, owners, category, self._categories, self._design.code_levels
            )
            self._scales["composition"] = Scale.of_images(strange, category, self._categories)
        if self._design.structural == "memory":
            self._memory = self._remember(features, learned, len(features), device)
        self._measure(features, category, judged)
        if self._memory is not None and held_out:  # nothing is held back from a memory that is measured
            self._memory = self._memory.joined(self._remember(features, judged, len(features), device))
        return log

    @torch.no_grad()
    def anomaly_maps(self, layers: Sequence[Tensor]) -> Tensor:
        """The fused maps, on the scale of held-out normal images: (B, D, h, w) for each layer to (B, side, side)."""
        levels = self._levels(layers)
        category = self._levels.category_of(levels)
        maps = {
            name: self._scales[name](found, category) for name, found in self._maps(layers, levels, category).items()
        }
        if self._composition is not None:
            distances, places = self._composition(levels, category)
            strange = self._scales["composition"](distances, category).nan_to_num(0)
            maps["composition"] = strange[:, None, None] * self._on_side(places)
        return fuse(maps, self._design.fusion)

    def to(self, device: torch.device) -> "Modules":
        """Move to a device."""
        self._levels.to(device)
        for network in self._networks().values():
            network.to(device)
        self._memory = self._memory.to(device) if self._memory else None
        self._composition = self._composition.to(device) if self._composition else None
        self._scales = {name: Scale(scale.quantiles.to(device)) for name, scale in self._scales.items()}
        return self

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs."""
        found = {f"levels.{name}": tensor for name, tensor in self._levels.state_dict().items()}
        for prefix, network in self._networks().items():
            found |= {f"{prefix}.{name}": tensor for name, tensor in network.state_dict().items()}
        if self._memory:
            found["memory"] = self._memory.bank
        if self._composition:
            found |= {f"composition.{name}": tensor for name, tensor in self._composition.state().items()}
        found |= {f"scale.{name}": scale.quantiles for name, scale in self._scales.items()}
        return {name: tensor.contiguous() for name, tensor in found.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self._levels.load_state_dict(_below("levels", tensors))
        for prefix, network in self._networks().items():
            network.load_state_dict(_below(prefix, tensors))
        if "memory" in tensors:
            self._memory = PatchMemory(tensors["memory"], self._side)
        composition = _below("composition", tensors)
        self._composition = Composition(composition) if composition else None
        self._scales = {name: Scale(quantiles) for name, quantiles in _below("scale", tensors).items()}

    def _networks(self) -> dict[str, Trainable]:
        found = {"logical": self._logical, "structural": self._structural}
        return {name: network for name, network in found.items() if network is not None}

    def _train(self, seen: Subset, optimisation: Train, device: torch.device, checkpoint: Path) -> Log:
        log: Log = []
        for name, network in self._networks().items():
            torch.manual_seed(self._seed)
            if isinstance(network, LogicalNetwork):
                step = -(-len(seen) // STARTING_IMAGES)
                network.prepare(seen.batch(range(0, len(seen), step))[:-1])
            path = checkpoint.with_name(f"{checkpoint.stem}-{name}{checkpoint.suffix}")
            log += train(network, seen, optimisation, seed=self._seed, device=device, checkpoint=path)
        return log

    def _remember(self, features: FeatureSet, indices: Sequence[int], of: int, device: torch.device) -> PatchMemory:
        """A memory of some of the images, with their share of the patches."""
        size = max(1, self._design.memory_patches * len(indices) // of)
        return PatchMemory.build(features, indices, self._side, size, self._seed, device)

    def _maps(self, layers: Sequence[Tensor], levels: Sequence[Tensor], category: Tensor) -> dict[str, Tensor]:
        """The maps (B, side, side) that are scaled as they are."""
        maps = {}
        if self._logical is not None:
            maps["logical"] = self._logical.anomaly_maps(levels, category, self._side)
        if self._structural is not None:
            maps["structural"] = self._structural.anomaly_maps(levels, self._side)
        if self._memory is not None:
            maps["structural"] = self._memory.anomaly_maps(layers)
        return maps

    @torch.no_grad()
    def _measure(self, features: FeatureSet, category: Tensor, judged: Sequence[int]) -> None:
        """Measure the maps of held-out images, of which nothing has been learned."""
        chosen = [judged[position] for position in choose(len(judged), MOST_JUDGED, self._seed)]
        found: dict[str, list[Tensor]] = {}
        for index in chosen:
            layers = features.batch([index])
            for name, maps in self._maps(layers, self._levels(layers), category[[index]]).items():
                found.setdefault(name, []).append(maps)
        for name, parts in found.items():
            self._scales[name] = measure_maps(
                torch.cat(parts), category[chosen], self._categories, by_place=self._design.by_place
            )

    def _on_side(self, maps: Tensor) -> Tensor:
        size = (self._side, self._side)
        return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}."): t for key, t in tensors.items() if key.startswith(f"{prefix}.")}
