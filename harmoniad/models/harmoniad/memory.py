"""HarmoniAD's memory: normal tokens of all categories, and how a token deviates from the nearest of them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.models.coreset import greedy_coreset
from harmoniad.models.detector import FeatureSet
from harmoniad.models.memory import PATCHES_AT_ONCE
from harmoniad.params import Harmoniad
from harmoniad.progress import Progress

DRAWN_PER_KEPT = 10  # tokens drawn at random for each one that the memory keeps
NOBODY = -1  # the owner of no token


def tokens_of(layers: Sequence[Tensor], grid: int, norm: str) -> Tensor:
    """Join the layers on one grid. Unlike PatchCore's patches they are not pooled, which would blur small defects.

    Args:
        layers: (B, D, h, w) for each layer.
        grid: Side of the common grid.
        norm: `layer` normalises each token of each layer over its channels.

    Returns:
        (B, grid * grid, sum of D).
    """
    if norm == "layer":
        layers = [F.layer_norm(layer.movedim(1, -1), layer.shape[1:2]).movedim(-1, 1) for layer in layers]
    size = (grid, grid)
    resized = [
        layer if layer.shape[-2:] == size else F.interpolate(layer, size=size, mode="bilinear", align_corners=False)
        for layer in layers
    ]
    return torch.cat(resized, dim=1).flatten(2).transpose(1, 2)


class NormalMemory:
    """Tokens of good images, in principal components.

    Attributes:
        mean: (D,) of the drawn tokens.
        components: (D, C), the first principal components of the drawn tokens.
        tokens: (M, C), what is remembered.
        categories: (M,), number of the category of each.
        owners: (M,), number of the image that each was taken from; known while the detector is fitted only.
    """

    def __init__(self, mean: Tensor, components: Tensor, tokens: Tensor, categories: Tensor, owners: Tensor) -> None:
        self.mean, self.components, self.tokens = mean, components, tokens
        self.categories, self.owners = categories, owners
        self._squares = tokens.square().sum(1)

    @classmethod
    def build(
        cls,
        features: FeatureSet,
        owners: Sequence[int],
        categories: Sequence[int],
        design: Harmoniad,
        *,
        grid: int,
        seed: int,
        device: torch.device,
    ) -> "NormalMemory":
        """Draw tokens at random from all images and keep a greedy coreset of them.

        Args:
            features: Views of good images.
            owners: Number of the image of each view.
            categories: Number of the category of each view.
            design: Size of the memory, channels, norm.
            grid: Side of the token grid.
            seed: Of the drawing and of the coreset.
            device: Where the memory is built and kept.
        """
        generator = torch.Generator().manual_seed(seed)
        limit = design.memory_patches * DRAWN_PER_KEPT
        views = torch.randperm(len(features), generator=generator)[:limit].sort().values.tolist()
        each = max(1, min(grid**2, limit // len(views)))
        drawn, taken_from = [], []
        with Progress("memory", len(views), "images") as progress:
            for view in views:
                tokens = tokens_of(features.batch([view]), grid, design.norm)[0]
                drawn.append(tokens[torch.randperm(len(tokens), generator=generator)[:each]])
                taken_from += [view] * len(drawn[-1])
                progress.advance()
        tokens = torch.cat(drawn).to(device)
        mean, components = principal_components(tokens, design.memory_channels)
        reduced = (tokens - mean) @ components
        kept = greedy_coreset(reduced, min(design.memory_patches, len(reduced)), generator)
        owner = torch.tensor([owners[taken_from[index]] for index in kept.tolist()], device=device)
        category = torch.tensor([categories[taken_from[index]] for index in kept.tolist()], device=device)
        return cls(mean, components, reduced[kept.to(device)], category, owner)

    def project(self, tokens: Tensor) -> Tensor:
        """(..., D) to principal components (..., C)."""
        return (tokens - self.mean) @ self.components

    def nearest(self, tokens: Tensor, owner: int = NOBODY) -> Tensor:
        """Index of the remembered token nearest to each of (N, C): (N,).

        Args:
            tokens: In principal components.
            owner: The image that they come from, whose own remembered tokens do not count.
        """
        foreign = self._squares.masked_fill(self.owners == owner, torch.inf) if owner != NOBODY else self._squares
        found = [
            torch.addmm(foreign, part, self.tokens.T, alpha=-2).argmin(1) for part in tokens.split(PATCHES_AT_ONCE)
        ]
        return torch.cat(found)

    def deviation(self, tokens: Tensor, nearest: Tensor, grid: int) -> Tensor:
        """How tokens (B, N, C) differ from their nearest (B, N) remembered ones: (B, C, grid, grid)."""
        return (tokens - self.tokens[nearest]).transpose(1, 2).unflatten(2, (grid, grid))

    def category_of(self, nearest: Tensor) -> Tensor:
        """The category that most of an image's nearest (B, N) remembered tokens belong to: (B,)."""
        return self.categories[nearest].mode(dim=1).values

    def to(self, device: torch.device) -> "NormalMemory":
        """On another device."""
        mean, components, tokens, categories = (tensor.to(device) for tensor in self._tensors())
        return NormalMemory(mean, components, tokens, categories, self.owners.to(device))

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs."""
        names = ("mean", "components", "tokens", "categories")
        return {f"memory.{name}": t.contiguous() for name, t in zip(names, self._tensors(), strict=True)}

    @classmethod
    def restore(cls, tensors: dict[str, Tensor]) -> "NormalMemory":
        """Read back what `state` gave."""
        categories = tensors["memory.categories"]
        return cls(
            tensors["memory.mean"],
            tensors["memory.components"],
            tensors["memory.tokens"],
            categories,
            torch.full_like(categories, NOBODY),
        )

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.mean, self.components, self.tokens, self.categories


def principal_components(tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and first principal components (D, C) of (N, D), with C = min(count, D).

    All of them are kept as they are, unrotated, where there are no more channels than asked for.
    """
    mean, width = tokens.mean(0), tokens.shape[1]
    if width <= count:
        return mean, torch.eye(width, device=tokens.device)
    centred = (tokens - mean).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # eigenvalues ascend
    return mean, vectors[:, -count:].flip(1).float().contiguous()
