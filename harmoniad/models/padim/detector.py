"""PaDiM as a detector: Mahalanobis distance of each position to what is normal there."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.errors import HarmoniadError
from harmoniad.features.cache import Shape
from harmoniad.models.detector import FeatureSet, SyntheticSet
from harmoniad.models.padim.design import Padim
from harmoniad.models.padim.gaussian import GaussianSums, mahalanobis
from harmoniad.params import Params
from harmoniad.progress import Progress

JOINT = "all categories"
MAX_GRID = 32
MAX_BYTES = 4 * 2**30
BATCH_SIZE = 16


class PadimDetector:
    """One Gaussian a position over all categories, or one a position and category.

    Memory, whatever the number of images: with P = grid ** 2 positions and D channels, P * D ** 2 * 8 bytes while a
    model is fitted and half of it for each that is kept, 123 MB in all for one model of a grid of 32 and 100 channels.
    More than 4 GiB is refused.
    """

    def __init__(self, shapes: tuple[Shape, ...], design: Padim, seed: int) -> None:
        self._shapes, self._design, self._seed = shapes, design, seed
        self._grid = design.grid or min(MAX_GRID, max(shape[1] for shape in shapes))
        total = sum(shape[0] for shape in shapes)
        generator = torch.Generator().manual_seed(seed)
        self._channels = torch.randperm(total, generator=generator)[: design.channels].sort().values
        self._gaussians: dict[str, tuple[Tensor, Tensor]] = {}

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """A detector without Gaussians."""
        return cls(shapes, params.detector.padim, params.seed)

    @classmethod
    def restore(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """A detector with its Gaussians."""
        shapes = tuple(tuple(shape) for shape in config["shapes"])
        detector = cls(shapes, Padim(**config["design"]), config["seed"])
        detector._channels = tensors["channels"]
        detector._gaussians = {
            name: (tensors[f"mean.{index}"], tensors[f"whitening.{index}"])
            for index, name in enumerate(config["gaussians"])
        }
        return detector

    def fit(
        self, features: FeatureSet, *, synthetic: SyntheticSet | None = None, device: torch.device, checkpoint: Path
    ) -> list[dict[str, float]]:
        """Estimate the Gaussians in one pass over the images, a batch at a time.

        Raises:
            HarmoniadError: There are fewer than two images (of a category), or the Gaussians would not fit in memory.
        """
        members: dict[str, list[int]] = {}
        for index, category in enumerate(features.categories):
            members.setdefault(JOINT if self._design.joint else category, []).append(index)
        self._check(members)
        self._gaussians = {}
        with Progress("gaussians", len(features), "images") as progress:
            for name, indices in sorted(members.items()):
                sums = GaussianSums(self._grid**2, len(self._channels), device)
                for start in range(0, len(indices), BATCH_SIZE):
                    batch = features.batch(indices[start : start + BATCH_SIZE])
                    sums.add(self._embed([layer.to(device) for layer in batch]))
                    progress.advance(len(batch[0]))
                self._gaussians[name] = sums.gaussians(self._design.regularisation)
        return []

    @torch.inference_mode()
    def anomaly_maps(self, layers: Sequence[Tensor], categories: Sequence[str] | None = None) -> Tensor:
        """Mahalanobis distance at each position: (B, grid, grid).

        Raises:
            HarmoniadError: The Gaussians are those of one category each, and a category is not given or has none.
        """
        device = next(iter(self._gaussians.values()))[0].device
        embeddings = self._embed([layer.to(device) for layer in layers])
        names = [JOINT] * len(embeddings) if self._design.joint else self._known(categories)
        distances = torch.empty(embeddings.shape[:2], device=device)
        for name in sorted(set(names)):
            chosen = [index for index, other in enumerate(names) if other == name]
            distances[chosen] = mahalanobis(embeddings[chosen], *self._gaussians[name])
        return distances.unflatten(1, (self._grid, self._grid))

    def to(self, device: torch.device) -> Self:
        """Move to a device."""
        self._gaussians = {
            name: (mean.to(device), whitening.to(device)) for name, (mean, whitening) in self._gaussians.items()
        }
        return self

    def config(self) -> dict[str, Any]:
        """Shapes of the features, design, seed and whose Gaussians they are."""
        return {
            "shapes": [list(shape) for shape in self._shapes],
            "design": self._design.model_dump(),
            "seed": self._seed,
            "gaussians": sorted(self._gaussians),
        }

    def tensors(self) -> dict[str, Tensor]:
        """The drawn channels and the Gaussians, in the order of `config()["gaussians"]`."""
        tensors = {"channels": self._channels}
        for index, name in enumerate(sorted(self._gaussians)):
            mean, whitening = self._gaussians[name]
            tensors |= {f"mean.{index}": mean.cpu().contiguous(), f"whitening.{index}": whitening.cpu().contiguous()}
        return tensors

    def _embed(self, layers: Sequence[Tensor]) -> Tensor:
        """The drawn channels of all layers on one grid: (B, D, h, w) for each layer to (B, P, channels)."""
        size = (self._grid, self._grid)
        bounds = pairwise(accumulate((layer.shape[1] for layer in layers), initial=0))
        picked = []
        for layer, (start, end) in zip(layers, bounds, strict=True):
            inside = self._channels[(self._channels >= start) & (self._channels < end)] - start
            drawn = layer[:, inside.to(layer.device)].float()
            shrinks = self._grid < layer.shape[-1]
            picked.append(F.interpolate(drawn, size=size, mode="bilinear", align_corners=False, antialias=shrinks))
        return torch.cat(picked, dim=1).flatten(2).transpose(1, 2)

    def _check(self, members: dict[str, list[int]]) -> None:
        few = [name for name, indices in sorted(members.items()) if len(indices) < 2]
        if few:
            hint = "" if self._design.joint else " or set `detector.padim.joint: true`"
            raise HarmoniadError(f"padim: {few[0]}: fewer than 2 training images. Add good images{hint}.")
        numbers = self._grid**2 * len(self._channels) ** 2
        needed = numbers * (8 + 4 * len(members))
        if needed > MAX_BYTES:
            raise HarmoniadError(
                f"padim: Gaussians of {len(self._channels)} channels at {self._grid}x{self._grid} positions"
                f" need {needed / 2**30:.1f} GiB. Lower `detector.padim.channels` or `detector.padim.grid`."
            )

    def _known(self, categories: Sequence[str] | None) -> Sequence[str]:
        known = ", ".join(sorted(self._gaussians))
        if categories is None:
            raise HarmoniadError(f"padim: trained a category, so each image needs its category. Known: {known}.")
        for category in categories:
            if category not in self._gaussians:
                raise HarmoniadError(f"padim: no Gaussians for category `{category}`. Known: {known}.")
        return categories
