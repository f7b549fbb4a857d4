"""Defects made in the features themselves: noise, and tokens from other places (GeneralAD, Straeter et al. 2024)."""

import torch
from torch import Tensor

SMALLEST, LARGEST = 1, 0.3  # side of a block: in tokens, and as a share of the grid


def with_feature_defects(tokens: Tensor, grid: int, noise: float) -> tuple[Tensor, Tensor]:
    """Change the tokens of one rectangular block: half of the time by Gaussian noise, else by shuffling.

    Draws from torch's global generator, which the training loop seeds for each step.

    Args:
        tokens: (grid * grid, C) of one image; is not changed.
        grid: Side of the token grid.
        noise: Standard deviation of the noise, in standard deviations of each channel over the image.

    Returns:
        The changed tokens, and which of them are changed, (grid * grid,) bool.
    """
    largest = max(SMALLEST, int(LARGEST * grid))
    height, width = torch.randint(SMALLEST, largest + 1, (2,)).tolist()
    top, left = (int(torch.randint(0, grid - side + 1, ())) for side in (height, width))
    hit = torch.zeros(grid, grid, dtype=torch.bool, device=tokens.device)
    hit[top : top + height, left : left + width] = True
    hit = hit.flatten()
    changed = tokens.clone()
    if torch.rand(()) < 0.5:
        changed[hit] += (noise * torch.randn(int(hit.sum()), tokens.shape[1])).to(tokens.device) * tokens.std(0)
    else:
        changed[hit] = tokens[torch.randint(0, len(tokens), (int(hit.sum()),)).to(tokens.device)]
    return changed, hit
