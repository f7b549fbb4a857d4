"""A gated mixture of experts."""

import torch
from torch import Tensor, nn

from harmoniad.models.reconstruction.attention import mlp


class GatedExperts(nn.Module):
    """Each token goes to the few experts that its gate favours (CNC, section "Gated Mixture-of-Experts")."""

    def __init__(self, width: int, experts: int, chosen: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.gate = nn.Linear(width, experts)
        self.experts = nn.ModuleList(mlp(width) for _ in range(experts))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Send tokens (B, N, W) through their experts.

        Returns:
            (B, N, W), and how unevenly the experts are used: the squared coefficient of variation of their gates' sums
            (Shazeer et al., ICLR 2017, equation 6), a scalar.
        """
        scores = self.gate(tokens).float()
        best, index = scores.topk(self.chosen, dim=-1)
        weights = torch.zeros_like(scores).scatter(-1, index, best.softmax(-1))
        flat, shares = tokens.flatten(0, 1), weights.flatten(0, 1)
        mixed = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            rows = shares[:, number].nonzero()[:, 0]
            mixed = mixed.index_add(0, rows, (shares[rows, number, None] * expert(flat[rows])).to(flat.dtype))
        used = weights.sum((0, 1))
        return mixed.view_as(tokens), used.var(correction=0) / used.mean().square().clamp(min=1e-12)
