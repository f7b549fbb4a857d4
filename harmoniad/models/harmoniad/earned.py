"""The fusion of anomaly maps with weights that each map has to earn, category by category, without a real defect.

A map that a product's pose or material makes restless would spoil a good one under a fixed weight, and its statistics
on good images do not warn of it. So the weights are those that best tell good images from copies with made defects.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

STEPS = 4  # weights are tried in steps of a quarter
TOP_SHARE = 0.01  # of the tokens, whose mean is an image's score
TOLERANCE = 0.01  # of the criterion: mixtures that are as good as the best are averaged
OWN_SHARE = 0.5  # how much a category's own images count, against the mean over all categories


@dataclass(frozen=True)
class FusionWeights:
    """What the fusion learned.

    Attributes:
        mean: (C + 1, K) of each map's values on good images of each category; the last row is for all together.
        deviation: (C + 1, K), their standard deviation.
        weights: (C + 1, K), each row sums to 1.
    """

    mean: Tensor
    deviation: Tensor
    weights: Tensor

    def fuse(self, maps: Tensor, categories: Tensor | None) -> Tensor:
        """Weighted mean of maps in standard deviations above normal; a single map stays as it is.

        Args:
            maps: (K, B, h, w).
            categories: (B,), number of each image's category; None if it is not known.

        Returns:
            (B, h, w).
        """
        if len(maps) == 1:
            return maps[0]
        if categories is None:
            categories = torch.full((maps.shape[1],), len(self.mean) - 1, device=maps.device)
        gain = (self.weights / self.deviation)[categories].T[:, :, None, None]
        offset = (self.weights * self.mean / self.deviation).sum(1)[categories][:, None, None]
        return (gain * maps).sum(0) - offset

    def to(self, device: torch.device) -> "FusionWeights":
        """On another device."""
        return FusionWeights(self.mean.to(device), self.deviation.to(device), self.weights.to(device))


def measure_normal(maps: Tensor, categories: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the values of maps (K, N, h, w) of good images: (C + 1, K) each.

    A category without an image takes those of all together.
    """
    groups = [maps[:, categories == number] for number in range(count)]
    means, deviations = [], []
    for group in [*groups, maps]:
        values = (group if group.shape[1] else maps).flatten(1)
        means.append(values.mean(1))
        deviations.append(values.std(1).clamp(min=1e-6))
    return torch.stack(means), torch.stack(deviations)


def equal_weights(mean: Tensor, deviation: Tensor) -> FusionWeights:
    """The same weight for every map."""
    return FusionWeights(mean, deviation, torch.full_like(mean, 1 / mean.shape[1]))


def earn_weights(
    mean: Tensor, deviation: Tensor, good: Tensor, good_categories: Tensor, made: Tensor, made_categories: Tensor
) -> FusionWeights:
    """Choose weights by how well the fused map tells good images from such with made defects.

    The criterion is the image AUROC within a category: half of a category's own, half of the mean over the categories,
    so that few images cannot decide alone.

    Args:
        mean: (C + 1, K), from `measure_normal`.
        deviation: The same.
        good: Maps (K, N, h, w) of good images that none of the maps was fitted to.
        good_categories: (N,).
        made: Maps (K, M, h, w) of copies with made defects.
        made_categories: (M,).
    """
    count, maps = mean.shape[0] - 1, mean.shape[1]
    mixtures = torch.tensor([m for m in product(range(STEPS + 1), repeat=maps) if sum(m) == STEPS]) / STEPS
    mixtures = mixtures.to(mean.device)
    criteria = torch.full((count, len(mixtures)), torch.nan, device=mean.device)
    for number in range(count):
        normal, changed = good[:, good_categories == number], made[:, made_categories == number]
        if normal.shape[1] == 0 or changed.shape[1] == 0:
            continue
        scale = mean[number].view(-1, 1, 1), deviation[number].view(-1, 1, 1)
        normal, changed = ((part.flatten(2) - scale[0]) / scale[1] for part in (normal, changed))
        for index, mixture in enumerate(mixtures):
            criteria[number, index] = auroc(top_mean(mixture, changed), top_mean(mixture, normal))
    if criteria.isnan().all():
        return equal_weights(mean, deviation)
    common = criteria.nanmean(0)
    own = torch.where(criteria.isnan(), common, criteria)
    blended = torch.cat([OWN_SHARE * own + (1 - OWN_SHARE) * common, common[None]])
    as_good = (blended >= blended.amax(1, keepdim=True) - TOLERANCE).float()
    weights = as_good @ mixtures / as_good.sum(1, keepdim=True)
    return FusionWeights(mean, deviation, weights)


def top_mean(mixture: Tensor, maps: Tensor) -> Tensor:
    """Image scores of a mixture (K,) of maps (K, N, tokens): (N,)."""
    fused = torch.einsum("k,knt->nt", mixture, maps)
    return fused.topk(max(1, round(TOP_SHARE * fused.shape[1])), dim=1).values.mean(1)


def auroc(positive: Tensor, negative: Tensor) -> Tensor:
    """Share of pairs in which the positive has the higher score; a tie counts half."""
    difference = positive[:, None] - negative[None]
    return (difference > 0).float().mean() + 0.5 * (difference == 0).float().mean()
