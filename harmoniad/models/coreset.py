"""Greedy choice of the patches that a memory bank keeps."""

import torch
from torch import Tensor

from harmoniad.progress import Progress

PROJECTED_WIDTH = 128
MEASURED_AT_ONCE = 64  # of these farthest patches about three in four are chosen before others are farther


def greedy_coreset(patches: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose patches such that no patch is far from a chosen one (minimax facility location, PatchCore section 3.2).

    Distances are taken in a random projection to 128 channels. Those to the farthest patches, which are most likely
    chosen next, are computed in one product: the choice is that of one patch after the other, several times as fast.
    Memory: one projected copy, and 65 distances a patch.

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
    distances: dict[int, Tensor] = {}
    with Progress("coreset", count, "patches") as progress:
        for position in range(count):
            chosen[position] = index
            if index not in distances:
                distances.clear()  # before the next ones need their memory
                distances = _distances_of_farthest(points, lengths, nearest, index)
            torch.minimum(nearest, distances[index], out=nearest)
            nearest[index] = -torch.inf  # rounding must not choose a patch twice
            index = int(nearest.argmax())
            progress.advance()
    return chosen


def _distances_of_farthest(points: Tensor, lengths: Tensor, nearest: Tensor, index: int) -> dict[int, Tensor]:
    """Squared distances (N,) of all points to one of them and to those that are farthest from the chosen ones."""
    farthest = nearest.topk(min(MEASURED_AT_ONCE, len(points))).indices.tolist()
    indices = list(dict.fromkeys([index, *farthest]))[:MEASURED_AT_ONCE]
    squares = torch.addmm(lengths, points[indices], points.T, alpha=-2).add_(lengths[indices, None])
    return dict(zip(indices, squares, strict=True))


def _project(patches: Tensor, generator: torch.Generator) -> Tensor:
    width = patches.shape[1]
    if width <= PROJECTED_WIDTH:
        return patches
    matrix = torch.randn(width, PROJECTED_WIDTH, generator=generator) / PROJECTED_WIDTH**0.5
    return patches @ matrix.to(patches.device)
