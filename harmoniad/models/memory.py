"""A memory of normal patches: how they are made from layers, drawn, thinned out and searched."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.models.coreset import greedy_coreset
from harmoniad.models.detector import FeatureSet
from harmoniad.progress import Progress

PATCHES_AT_ONCE = 1024  # whose distances are in memory at a time: few enough for a CPU's cache


def patches_of(layers: Sequence[Tensor], grid: int) -> Tensor:
    """Pool each layer over 3 x 3 neighbours, bring all to one grid, join (PatchCore, Roth et al. 2022, section 3.1).

    Args:
        layers: (B, D, h, w) for each layer.
        grid: Side of the common grid.

    Returns:
        (B, grid * grid, sum of D).
    """
    pooled = [F.avg_pool2d(layer.float(), 3, stride=1, padding=1) for layer in layers]
    resized = [F.interpolate(layer, size=(grid, grid), mode="bilinear", align_corners=False) for layer in pooled]
    return torch.cat(resized, dim=1).flatten(2).transpose(1, 2)


class Pile:
    """Rows that are drawn one image at a time, in one piece of memory.

    Small tensors that are kept between large ones that are not would tear the heap apart: memory would grow with the
    number of images.
    """

    def __init__(self) -> None:
        self._space = torch.empty(0, 0)
        self._count = 0

    def add(self, rows: Tensor, at_most: int) -> None:
        """Copy rows (n, D); `at_most` is how many there will be in all."""
        if not self._count:
            self._space = torch.empty(at_most, rows.shape[1], dtype=rows.dtype)
        self._space[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    def rows(self) -> Tensor:
        """All rows."""
        return self._space[: self._count]


def build_bank(
    features: FeatureSet,
    indices: Sequence[int],
    grid: int,
    *,
    max_patches: int,
    share: float,
    seed: int,
    device: torch.device,
) -> Tensor:
    """Draw patches from some images at random and keep a greedy coreset of them.

    Memory: `max_patches` patches, whatever the number of images.

    Args:
        features: The training features.
        indices: Which images to take.
        grid: Side of the patch grid.
        max_patches: How many patches are drawn at most.
        share: How many of the drawn ones are kept, in (0, 1].
        seed: Of the drawing and of the coreset.
        device: Where the bank is built and kept.

    Returns:
        (M, D).
    """
    generator = torch.Generator().manual_seed(seed)
    each = max(1, min(grid**2, max_patches // len(indices)))
    count = min(len(indices), max_patches)
    drawn = Pile()
    with Progress("patches", count, "images") as progress:
        for index in indices[:max_patches]:
            patches = patches_of(features.batch([index]), grid)[0]
            drawn.add(patches[torch.randperm(len(patches), generator=generator)[:each]], at_most=count * each)
            progress.advance()
    patches = drawn.rows().to(device)
    kept = max(1, round(share * len(patches)))
    return patches[greedy_coreset(patches, kept, generator).to(device)]


def distance_to(bank: Tensor, patches: Tensor) -> Tensor:
    """Euclidean distance of each of (..., D) to its nearest row of (M, D): (...)."""
    flat = patches.reshape(-1, patches.shape[-1])
    squares, columns = bank.square().sum(1), bank.T
    found = [
        # The nearest row by a product; then the distance without its cancellation.
        (part - bank[torch.addmm(squares, part, columns, alpha=-2).argmin(1)]).norm(dim=1)
        for part in flat.split(PATCHES_AT_ONCE)
    ]
    return torch.cat(found).view(patches.shape[:-1])
