"""HarmoniAD's memory: normal tokens of all categories, and how a token deviates from the nearest of them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.models.coreset import greedy_coreset
from harmoniad.models.detector import FeatureSet
from harmoniad.models.memory import PATCHES_AT_ONCE, Pile
from harmoniad.progress import Progress

DRAWN_PER_KEPT = 10  # tokens drawn at random for each one that the memory keeps
RANDOM_SHARE = 6  # one of so many channels is a random direction
NAMES = ("mean", "components", "tokens", "categories")
NOBODY = -1  # the owner of no token


def tokens_of(layers: Sequence[Tensor], grid: int, norm: str) -> Tensor:
    """Join the layers on one grid. Unlike PatchCore's patches they are not pooled, which would blur small defects.

    Tokens at the border are shrunk by the share of their 3 x 3 neighbours that lies in the image, as pooling with zeros
    around would do: an encoder sees its own padding there, so that good images deviate most at their borders.

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
    inside = F.avg_pool2d(torch.ones(1, 1, grid, grid, device=layers[0].device), 3, stride=1, padding=1)
    return (inside * torch.cat(resized, dim=1)).flatten(2).transpose(1, 2)


def low_tokens(tokens: Tensor, grid: int) -> Tensor:
    """The low band of tokens (B, grid * grid, C): the mean of 4 x 4 neighbours, at half the grid.

    Half the grid is all that a low band needs, and a quarter of the tokens to look up. Zeros lie around, as in
    `tokens_of`. Returns (B, (grid // 2) ** 2, C); the tokens as they are if the grid is a single token.
    """
    if grid == 1:
        return tokens
    image = F.pad(tokens.transpose(1, 2).unflatten(2, (grid, grid)), (1, 1, 1, 1))
    return F.avg_pool2d(image, 4, stride=2).flatten(2).transpose(1, 2)


class NormalMemory:
    """Tokens of good images, in fewer channels.

    Attributes:
        mean: (D,) of the drawn tokens.
        components: (D, C), see `shortening`.
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
        tokens_of_layers: Callable[[Sequence[Tensor]], Tensor],
        owners: Sequence[int],
        categories: Sequence[int],
        *,
        size: int,
        channels: int,
        seed: int,
        device: torch.device,
    ) -> "NormalMemory":
        """Draw tokens at random from all images and keep a greedy coreset of them.

        Args:
            features: Views of good images.
            tokens_of_layers: Makes (B, N, D) of the layers of B views.
            owners: Number of the image of each view.
            categories: Number of the category of each view.
            size: How many tokens are kept.
            channels: How many channels are kept at most.
            seed: Of the drawing and of the coreset.
            device: Where the memory is built and kept.
        """
        generator = torch.Generator().manual_seed(seed)
        limit = size * DRAWN_PER_KEPT
        views = torch.randperm(len(features), generator=generator)[:limit].sort().values.tolist()
        each = max(1, limit // len(views))
        drawn, taken_from = Pile(), []
        with Progress("memory", len(views), "images") as progress:
            for view in views:
                tokens = tokens_of_layers([layer.to(device) for layer in features.batch([view])])[0].cpu()
                chosen = tokens[torch.randperm(len(tokens), generator=generator)[:each]]
                drawn.add(chosen, at_most=len(views) * each)
                taken_from += [view] * len(chosen)
                progress.advance()
        tokens = drawn.rows().to(device)
        mean, components = shortening(tokens, channels, generator)
        reduced = (tokens - mean) @ components
        kept = greedy_coreset(reduced, min(size, len(reduced)), generator)
        owner = torch.tensor([owners[taken_from[index]] for index in kept.tolist()], device=device)
        category = torch.tensor([categories[taken_from[index]] for index in kept.tolist()], device=device)
        return cls(mean, components, reduced[kept.to(device)], category, owner)

    def project(self, tokens: Tensor) -> Tensor:
        """(..., D) to the memory's channels (..., C)."""
        return (tokens - self.mean) @ self.components

    def nearest(self, tokens: Tensor, owner: int = NOBODY) -> Tensor:
        """Index of the remembered token nearest to each of (N, C): (N,).

        Args:
            tokens: In the memory's channels.
            owner: The image that they come from, whose own remembered tokens do not count.
        """
        foreign = self._squares.masked_fill(self.owners == owner, torch.inf) if owner != NOBODY else self._squares
        found = [
            torch.addmm(foreign, part, self.tokens.T, alpha=-2).argmin(1) for part in tokens.split(PATCHES_AT_ONCE)
        ]
        return torch.cat(found)

    def distance(self, tokens: Tensor, owner: int = NOBODY) -> Tensor:
        """Distance of each of (N, C) to the nearest remembered token: (N,)."""
        return (tokens - self.tokens[self.nearest(tokens, owner)]).norm(dim=1)

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

    def state(self, prefix: str) -> dict[str, Tensor]:
        """What `restore` needs."""
        return {f"{prefix}.{name}": t.contiguous() for name, t in zip(NAMES, self._tensors(), strict=True)}

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], prefix: str) -> "NormalMemory":
        """Read back what `state` gave."""
        mean, components, remembered, categories = (tensors[f"{prefix}.{name}"] for name in NAMES)
        return cls(mean, components, remembered, categories, torch.full_like(categories, NOBODY))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.mean, self.components, self.tokens, self.categories


def shortening(tokens: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A linear map to fewer channels that keeps distances, even of tokens unlike those that it was made from.

    Most channels are principal components. What those lack is where a defect may show, so the rest are random
    directions in the complement, stretched so that lengths are kept on average (Johnson and Lindenstrauss, 1984).

    Args:
        tokens: (N, D).
        count: How many channels are kept; all, unrotated, where there are no more.
        generator: Of the random directions.

    Returns:
        The mean (D,) and (D, C), with C = min(count, D).
    """
    mean, width = tokens.mean(0), tokens.shape[1]
    if width <= count:
        return mean, torch.eye(width, device=tokens.device)
    centred = (tokens - mean).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # eigenvalues ascend
    lacking = count // RANDOM_SHARE
    components = vectors[:, len(vectors) - (count - lacking) :].flip(1)
    if lacking:
        directions = torch.randn(width, lacking, generator=generator, dtype=torch.float64).to(tokens.device)
        directions = torch.linalg.qr(directions - components @ (components.T @ directions)).Q
        components = torch.cat([components, directions * ((width - count + lacking) / lacking) ** 0.5], dim=1)
    return mean, components.float().contiguous()
