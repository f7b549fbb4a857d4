"""The training losses: cosine distance whose gradient is weighted by how badly a token is fitted."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

DAMPING = 0.1


def token_distance(target: Tensor, prediction: Tensor) -> Tensor:
    """1 - cosine over the channels: (B, D, h, w) twice to (B, h, w)."""
    return 1 - F.cosine_similarity(target.float(), prediction.float(), dim=1)


def hard_mined_cosine(targets: Sequence[Tensor], predictions: Sequence[Tensor], share: float) -> Tensor:
    """Mean cosine distance of the flattened features of each image.

    The gradient of the best fitted `share` of the tokens is multiplied by 0.1, so that the easy background does not
    drown the rest (Dinomaly, Guo et al., CVPR 2025, section 3.4).

    Args:
        targets: (B, D, h, w) for each group; no gradient flows into them.
        predictions: Same shapes.
        share: In [0, 1).

    Returns:
        A scalar.
    """

    def factor(distance: Tensor) -> Tensor:
        return torch.where(distance < torch.quantile(distance.flatten(), share), DAMPING, 1.0)

    return _weighted_cosine(targets, predictions, factor)


def soft_mined_cosine(targets: Sequence[Tensor], predictions: Sequence[Tensor], power: float) -> Tensor:
    """The same loss, with the gradient of every token multiplied by (its distance / mean distance) ** power.

    Soft mining of INP-Former (Luo et al., CVPR 2025): no token is left out, the hard ones count more.
    """

    def factor(distance: Tensor) -> Tensor:
        return (distance / distance.mean().clamp(min=1e-6)) ** power

    return _weighted_cosine(targets, predictions, factor)


def _weighted_cosine(
    targets: Sequence[Tensor], predictions: Sequence[Tensor], factor: Callable[[Tensor], Tensor]
) -> Tensor:
    """Cosine distance with the gradient of each token multiplied by `factor` of its distance."""
    losses = []
    for encoded, prediction in zip(targets, predictions, strict=True):
        target = encoded.detach()
        if prediction.requires_grad:
            weight = factor(token_distance(target, prediction.detach())).unsqueeze(1)
            prediction.register_hook(lambda gradient, weight=weight: gradient * weight.to(gradient.dtype))
        cosine = F.cosine_similarity(target.float().flatten(1), prediction.float().flatten(1), dim=1)
        losses.append((1 - cosine).mean())
    return torch.stack(losses).mean()
