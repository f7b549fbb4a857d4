"""Anomalies made in the features: noise on some tokens, or tokens of the image at places that are not theirs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harmoniad.models.general_ad.design import Distortion


def distort(
    tokens: Tensor, salience: Tensor, kinds: Sequence[Distortion], *, noise: float, most_moved: float
) -> tuple[Tensor, Tensor]:
    """Distort each image of a batch in one way (GeneralAD, section 3.2).

    Draws from torch's global generator, which the training loop seeds for each step.

    Args:
        tokens: (B, N, C); is not changed.
        salience: How much each token stands out, (B, N), not negative: tokens that do are moved more often.
        kinds: Which ways there are; each image gets one of them.
        noise: Standard deviation of the noise.
        most_moved: Share of the tokens that are shuffled or copied at most; at least two tokens are.

    Returns:
        The distorted tokens, and which of them are distorted, (B, N) bool.
    """
    changed = tokens.clone()
    hit = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    most = min(max(2, int(most_moved * tokens.shape[1])), tokens.shape[1])
    for image in range(len(tokens)):
        kind = kinds[int(torch.randint(len(kinds), ()))]
        if kind == "noise":
            share = torch.rand(()).item()
            places = torch.nonzero(torch.rand(tokens.shape[1]) <= share)[:, 0].to(tokens.device)
            changed[image, places] += noise * torch.randn(len(places), tokens.shape[2]).to(tokens.device)
        else:
            count = int(torch.randint(2, most + 1, ()))
            sources = _draw(salience[image], count)
            # Shuffled: each takes the place of the next. Copied: they lie over any others.
            places = sources.roll(1) if kind == "shuffle" else _draw(torch.ones_like(salience[image]), count)
            moved = places != sources
            sources, places = sources[moved], places[moved]
            changed[image, places] = tokens[image, sources]
        hit[image, places] = True
    return changed, hit


def salience_of(tokens: Tensor) -> Tensor:
    """Distance of each token of (B, N, C) from the mean of its image: (B, N)."""
    return (tokens - tokens.mean(1, keepdim=True)).norm(dim=2)


def _draw(weights: Tensor, count: int) -> Tensor:
    """Draw `count` different numbers with probabilities as the weights (N,) are."""
    return torch.multinomial(weights.cpu().float() + 1e-6, count).to(weights.device)
