"""The fusion of anomaly maps with weights that each map has to earn, category by category, without a real defect.

A map that a product's pose or material makes restless would spoil a good one under a fixed weight, and its statistics
on good images do not warn of it. So the weights are those that best tell good images from copies with made defects, and
best show where these are: a coarse map may tell images apart as well as a fine one, and blur what that one shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

STEPS = 4  # weights are tried in steps of a quarter
TOP_SHARE = 0.01  # of the tokens, whose mean is an image's score
QUANTILE = 0.99  # of the values on good images; what lies above is their tail
LEAST_EXCESS = 0.1  # standard deviations: a map that never leaves its highest value must not be stretched without end
TOLERANCE = 0.015  # of the criterion: mixtures that are as good as the best are averaged
DEFECTIVE, SOUND = 0.3, 0.02  # tokens count as defective from this share of their area on, as sound up to that one
FALSE_POSITIVE_RATE = 0.3  # up to which overlap is measured
THRESHOLDS = 200
OWN_SHARE = 0.5  # how much a category's own images count, against the mean over all categories


@dataclass(frozen=True)
class FusionWeights:
    """What the fusion learned.

    Attributes:
        level: (C + 1, K), 99 % quantile of each map's values on good images of each category; the last row is for all
            categories together.
        excess: (C + 1, K), by how much the values beyond it are above it on average.
        weights: (C + 1, K), each row sums to 1.
    """

    level: Tensor
    excess: Tensor
    weights: Tensor

    def fuse(self, maps: Tensor, categories: Tensor | None) -> Tensor:
        """Weighted mean of maps, each less its level and in units of its excess; a single map stays as it is.

        Args:
            maps: (K, B, h, w).
            categories: (B,), number of each image's category; None if it is not known.

        Returns:
            (B, h, w).
        """
        if len(maps) == 1:
            return maps[0]
        if categories is None:
            categories = torch.full((maps.shape[1],), len(self.level) - 1, device=maps.device)
        gain = (self.weights / self.excess)[categories].T[:, :, None, None]
        offset = (self.weights * self.level / self.excess).sum(1)[categories][:, None, None]
        return (gain * maps).sum(0) - offset

    def to(self, device: torch.device) -> "FusionWeights":
        """On another device."""
        return FusionWeights(self.level.to(device), self.excess.to(device), self.weights.to(device))


def measure_normal(maps: Tensor, categories: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Level and excess, (C + 1, K) each, of the values of maps (K, N, h, w) of good images.

    The two describe a tail that falls exponentially. An image is judged by its highest values, which follow it, and not
    the bulk that a standard deviation describes. A category without an image takes those of all together.
    """
    groups = [maps[:, categories == number] for number in range(count)]
    levels, excesses = [], []
    for group in [*groups, maps]:
        values = (group if group.shape[1] else maps).flatten(1).sort(dim=1).values
        first = min(int(QUANTILE * values.shape[1]), values.shape[1] - 2)
        levels.append(values[:, first])
        tail = values[:, first + 1 :].mean(1) - values[:, first]
        excesses.append(tail.maximum(LEAST_EXCESS * values.std(1)).clamp(min=1e-6))
    return torch.stack(levels), torch.stack(excesses)


def learn_fusion(
    maps: Tensor,
    categories: Tensor,
    is_judged: Tensor,
    shares: Tensor,
    *,
    count: int,
    most: Sequence[float] | None,
) -> FusionWeights:
    """Level and excess of each map, and its weight, from images that none of the maps was fitted to.

    Args:
        maps: (K, N + M, h, w) of N views of good images, and of M copies with made defects after them.
        categories: Number of the category of each, (N + M,).
        is_judged: Whether nothing was fitted to it, (N + M,); all count where no good one is.
        shares: Defective share of each token of the copies, (M, h, w).
        count: Of the categories.
        most: The highest weight of each map, of K; None for equal weights.
    """
    is_good = torch.arange(maps.shape[1], device=maps.device) < maps.shape[1] - len(shares)
    if not (is_good & is_judged).any():  # a single image a category
        is_judged = torch.ones_like(is_judged)
    good, made = is_good & is_judged, ~is_good & is_judged
    level, excess = measure_normal(maps[:, good], categories[good], count)
    if most is None:
        return equal_weights(level, excess)
    where = shares[is_judged[~is_good]]
    return earn_weights(level, excess, maps[:, good], categories[good], maps[:, made], categories[made], where, most)


def equal_weights(level: Tensor, excess: Tensor) -> FusionWeights:
    """The same weight for every map."""
    return FusionWeights(level, excess, torch.full_like(level, 1 / level.shape[1]))


def earn_weights(
    level: Tensor,
    excess: Tensor,
    good: Tensor,
    good_categories: Tensor,
    made: Tensor,
    made_categories: Tensor,
    shares: Tensor,
    most: Sequence[float],
) -> FusionWeights:
    """Choose weights by how well the fused map tells good images from such with made defects, and shows these.

    The criterion is the mean of image AUROC and `overlap` within a category: half of a category's own, half of the mean
    over the categories, so that few images cannot decide alone.

    Args:
        level: (C + 1, K), from `measure_normal`.
        excess: The same.
        good: Maps (K, N, h, w) of good images that none of the maps was fitted to.
        good_categories: (N,).
        made: Maps (K, M, h, w) of copies with made defects.
        made_categories: (M,).
        shares: Defective share of each token of the copies, (M, h, w).
        most: The highest weight of each map, of K.
    """
    count, maps = level.shape[0] - 1, level.shape[1]
    mixtures = torch.tensor([m for m in product(range(STEPS + 1), repeat=maps) if sum(m) == STEPS]) / STEPS
    mixtures = mixtures[(mixtures <= torch.tensor(most)).all(1)].to(level.device)
    criteria = torch.full((count, len(mixtures)), torch.nan, device=level.device)
    for number in range(count):
        normal, changed = good[:, good_categories == number], made[:, made_categories == number]
        if normal.shape[1] == 0 or changed.shape[1] == 0:
            continue
        scale = level[number].view(-1, 1, 1), excess[number].view(-1, 1, 1)
        normal, changed = ((part.flatten(2) - scale[0]) / scale[1] for part in (normal, changed))
        where = shares[made_categories == number].flatten(1)
        for index, mixture in enumerate(mixtures):
            fused = [torch.einsum("k,knt->nt", mixture, part) for part in (normal, changed)]
            criteria[number, index] = criterion(fused[0], fused[1], where)
    if criteria.isnan().all():
        return equal_weights(level, excess)
    common = criteria.nanmean(0)
    own = torch.where(criteria.isnan(), common, criteria)
    blended = torch.cat([OWN_SHARE * own + (1 - OWN_SHARE) * common, common[None]])
    as_good = (blended >= blended.amax(1, keepdim=True) - TOLERANCE).float()
    weights = as_good @ mixtures / as_good.sum(1, keepdim=True)
    return FusionWeights(level, excess, weights)


def criterion(normal: Tensor, changed: Tensor, shares: Tensor) -> Tensor:
    """Mean of image AUROC and `overlap`; the first alone where no token of the copies is defective enough."""
    detected = auroc(top_mean(changed), top_mean(normal))
    if not (shares > DEFECTIVE).any():
        return detected
    return (detected + overlap(normal, changed, shares)) / 2


def top_mean(maps: Tensor) -> Tensor:
    """Image scores of maps (N, tokens): (N,)."""
    return maps.topk(max(1, round(TOP_SHARE * maps.shape[1])), dim=1).values.mean(1)


def overlap(normal: Tensor, changed: Tensor, shares: Tensor) -> Tensor:
    """How much of the defects is found before many sound tokens are flagged.

    At each threshold that flags up to 30 % of the sound tokens, the share of a copy's defective tokens above it; the
    mean over thresholds at evenly spaced rates, and over the copies. What AUPRO is to pixels and regions.

    Args:
        normal: Maps of good images, (N, tokens).
        changed: Maps of copies, (M, tokens).
        shares: Defective share of their tokens, (M, tokens), of which one at least is above `DEFECTIVE`.
    """
    sound = torch.cat([normal.flatten(), changed[shares <= SOUND]])
    most = max(1, int(FALSE_POSITIVE_RATE * len(sound)))
    thresholds = sound.topk(most).values[:: max(1, most // THRESHOLDS)].flip(0).contiguous()
    defective = shares > DEFECTIVE
    below = torch.searchsorted(thresholds, changed.contiguous())  # thresholds that a token is above
    found = (below * defective).sum(1) / len(thresholds) / defective.sum(1)
    return found[defective.any(1)].mean()


def auroc(positive: Tensor, negative: Tensor) -> Tensor:
    """Share of pairs in which the positive has the higher score; a tie counts half."""
    difference = positive[:, None] - negative[None]
    return (difference > 0).float().mean() + 0.5 * (difference == 0).float().mean()
