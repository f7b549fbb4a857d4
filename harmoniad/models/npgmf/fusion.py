"""How maps of different kinds come to one scale: by quantiles of held-out normal images."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

LOW, HIGH = 0.5, 0.9
# What each map counts in their sum. The logical module's image score is the composition's; its decoder tells where.
WEIGHTS = {"structural": 1.0, "logical": 0.5, "composition": 2.0}
TOP_SHARE = 0.01  # of a map's places, whose mean stands for the image
FEWEST_IMAGES = 4  # of a category, below which all categories' images are taken
SMALLEST = 0.01  # of the low quantile's size, that the two quantiles are apart at least
NEIGHBOURS = 5  # side of the square whose places are measured together
COMMON_SPREAD = 0.5  # of the mean spread of all places, that is added to each


class Scale:
    """Two quantiles a category of what held-out normal images score.

    Args:
        quantiles: (categories, 2, ...), where ... are the sides of a map, or nothing for scores of images.
    """

    def __init__(self, quantiles: Tensor) -> None:
        self.quantiles = quantiles

    @classmethod
    def of_images(cls, scores: Tensor, category: Tensor, categories: int) -> "Scale":
        """From the scores (n,) of held-out normal images and the numbers (n,) of their categories; NaN are left out."""
        rows = []
        for number in range(categories):
            own = _own(scores, category, number)
            low, high = _quantiles(own) if len(own) else scores.new_tensor([0, 1]).unbind()
            rows.append(torch.stack([low, torch.maximum(high, low + SMALLEST * low.abs() + 1e-6)]))
        return cls(torch.stack(rows))

    @classmethod
    def of_places(cls, maps: Tensor, category: Tensor, categories: int) -> "Scale":
        """From maps (n, h, w) of held-out normal images, place by place: some places are always harder than others.

        The quantiles at a place are those over its 5 x 5 neighbourhood in all images.
        """
        rows = []
        for number in range(categories):
            own = _own(maps, category, number)
            padded = F.pad(own[:, None], [NEIGHBOURS // 2] * 4, mode="replicate")
            around = F.unfold(padded, NEIGHBOURS).movedim(1, 0).flatten(0, 1)  # (25 * n, places)
            low, high = _quantiles(around)
            spread = high - low + COMMON_SPREAD * (high - low).mean() + 1e-6
            rows.append(torch.stack([low, low + spread]).unflatten(1, maps.shape[1:]))
        return cls(torch.stack(rows))

    def then(self, images: "Scale") -> "Scale":
        """One scale that does what this one of places and then one of images would do."""
        low, high = self.quantiles.unbind(1)
        spread = high - low
        return Scale(torch.stack([low + q.view(-1, 1, 1) * spread for q in images.quantiles.unbind(1)], dim=1))

    def __call__(self, scores: Tensor, category: Tensor) -> Tensor:
        """(B, ...) so that the low quantile of the image's category (B,) becomes 0 and the high one 1."""
        found = self.quantiles[category]
        low, high = found.view(*found.shape, *[1] * (scores.dim() + 1 - found.dim())).unbind(1)
        return (scores - low) / (high - low)


def measure_maps(maps: Tensor, category: Tensor, categories: int, *, by_place: bool) -> Scale:
    """The scale of maps (n, h, w) on which `top` of held-out normal images has the quantiles 0 and 1."""
    if not by_place:
        return Scale.of_images(top(maps), category, categories)
    places = Scale.of_places(maps, category, categories)
    return places.then(Scale.of_images(top(places(maps, category)), category, categories))


def top(maps: Tensor) -> Tensor:
    """Mean of the highest hundredth of the places: (B, h, w) to (B,)."""
    flat = maps.flatten(1)
    return flat.topk(max(1, math.ceil(TOP_SHARE * flat.shape[1])), dim=1).values.mean(1)


def fuse(maps: dict[str, Tensor], how: Literal["sum", "maximum"]) -> Tensor:
    """Join maps (B, h, w) that are on one scale: their sum weighted by `WEIGHTS`, or the highest."""
    if how == "maximum":
        return torch.stack(list(maps.values())).amax(0)
    return torch.stack([WEIGHTS[name] * found for name, found in maps.items()]).sum(0)


def _own(scores: Tensor, category: Tensor, number: int) -> Tensor:
    """The known scores of a category, or of all categories where it has only a few."""
    known = ~scores.flatten(1).isnan().any(1) if scores.dim() > 1 else ~scores.isnan()
    own = scores[known & (category == number)]
    return own if len(own) >= FEWEST_IMAGES else scores[known]


def _quantiles(values: Tensor) -> tuple[Tensor, Tensor]:
    """The low and the high quantile over the first axis."""
    wanted = torch.tensor([LOW, HIGH], device=values.device, dtype=values.dtype)
    low, high = torch.quantile(values, wanted, dim=0)
    return low, high
