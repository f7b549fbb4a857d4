"""The training loss: cosine distance whose gradient is damped where the fit is already good."""

from collections.abc import Sequence

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
    losses = []
    for encoded, prediction in zip(targets, predictions, strict=True):
        target = encoded.detach()
        if share > 0 and prediction.requires_grad:
            distance = token_distance(target, prediction.detach())
            limit = torch.quantile(distance.flatten(), share)
            factor = torch.where(distance < limit, DAMPING, 1.0).unsqueeze(1)
            prediction.register_hook(lambda gradient, factor=factor: gradient * factor)
        cosine = F.cosine_similarity(target.float().flatten(1), prediction.float().flatten(1), dim=1)
        losses.append((1 - cosine).mean())
    return torch.stack(losses).mean()
