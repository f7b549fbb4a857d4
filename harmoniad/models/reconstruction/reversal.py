"""Two players in one training: one minimises the loss, the other maximises it."""

from typing import Any

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


def reversed_gradient(tensor: Tensor) -> Tensor:
    """The same tensor; whatever computed it is trained to make the loss larger (Ganin et al., JMLR 2016)."""
    reversed_: Tensor = _Reversal.apply(tensor)
    return reversed_
