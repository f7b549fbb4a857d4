"""How maps of different kinds come to one scale: by quantiles of held-out normal images."""

import math

import torch
from torch import Tensor

LOW, HIGH = 0.5, 0.9
TOP_SHARE = 0.01  # of a map's places, whose mean stands for the image
FEWEST_IMAGES = 4  # of a category, below which all categories' images are taken
SMALLEST = 0.01  # of the low quantile's size, that the two quantiles are apart at least


class Scale:
    """Two quantiles a category of what held-out normal images score.

    Args:
        quantiles: (categories, 2).
    """

    def __init__(self, quantiles: Tensor) -> None:
        self.quantiles = quantiles

    @classmethod
    def measure(cls, scores: Tensor, category: Tensor, categories: int) -> "Scale":
        """From the scores (n,) of held-out normal images and the numbers (n,) of their categories; NaN are left out."""
        known = ~scores.isnan()
        rows = []
        for number in range(categories):
            own = scores[known & (category == number)]
            own = own if len(own) >= FEWEST_IMAGES else scores[known]
            own = own if len(own) else scores.new_zeros(1)
            low, high = torch.quantile(own, torch.tensor([LOW, HIGH], device=own.device, dtype=own.dtype))
            rows.append(torch.stack([low, torch.maximum(high, low + SMALLEST * low.abs() + 1e-6)]))
        return cls(torch.stack(rows))

    def __call__(self, scores: Tensor, category: Tensor) -> Tensor:
        """(B, ...) so that the low quantile of the image's category (B,) becomes 0 and the high one 1."""
        low, high = self.quantiles[category].view(-1, 2, *[1] * (scores.dim() - 1)).unbind(1)
        return (scores - low) / (high - low)


def top(maps: Tensor) -> Tensor:
    """Mean of the highest hundredth of the places: (B, h, w) to (B,)."""
    flat = maps.flatten(1)
    return flat.topk(max(1, math.ceil(TOP_SHARE * flat.shape[1])), dim=1).values.mean(1)


def fuse(maps: list[Tensor], how: str) -> Tensor:
    """Join maps (B, h, w) that are on one scale: their sum (`quantiles`) or the highest (`maximum`)."""
    stacked = torch.stack(maps)
    return stacked.amax(0) if how == "maximum" else stacked.sum(0)
