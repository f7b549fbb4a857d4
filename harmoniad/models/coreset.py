"""Greedy choice of the patches that a memory bank keeps."""

import torch
from torch import Tensor

from harmoniad.progress import Progress

PROJECTED_WIDTH = 128


def greedy_coreset(patches: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose patches such that no patch is far from a chosen one (minimax facility location, PatchCore section 3.2).

    Distances are taken in a random projection to 128 channels. Memory: one projected copy and one distance a patch.

    Args:
        patches: (N, D) on any device.
        count: How many to choose, at most N.
        generator: A CPU generator, for the projection and the first patch.

    Returns:
        Indices (count,) in the order in which they were chosen.
    """
    points = _project(patches.float(), generator)
    lengths = points.square().sum(1)
    nearest = torch.full((len(points),), torch.inf, device=points.device)
    chosen = torch.empty(count, dtype=torch.long)
    index = int(torch.randint(len(points), (1,), generator=generator))
    with Progress("coreset", count, "patches") as progress:
        for position in range(count):
            chosen[position] = index
            distance = lengths + lengths[index] - 2 * (points @ points[index])
            torch.minimum(nearest, distance, out=nearest)
            nearest[index] = -torch.inf  # rounding must not choose a patch twice
            index = int(nearest.argmax())
            progress.advance()
    return chosen


def _project(patches: Tensor, generator: torch.Generator) -> Tensor:
    width = patches.shape[1]
    if width <= PROJECTED_WIDTH:
        return patches
    matrix = torch.randn(width, PROJECTED_WIDTH, generator=generator) / PROJECTED_WIDTH**0.5
    return patches @ matrix.to(patches.device)
