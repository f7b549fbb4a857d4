import torch
from torch.nn import functional as F

from harmoniad.models.reconstruction.attention import Block, LinearAttention


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_linear_attention_is_the_quadratic_formula() -> None:
    torch.manual_seed(0)
    attention = LinearAttention(8, heads=2)
    x = features(2, 5, 8)
    queries, keys, values = (part.view(2, 5, 2, 4).transpose(1, 2) for part in attention.qkv(x).split(8, dim=-1))
    weights = (F.elu(queries) + 1) @ (F.elu(keys) + 1).transpose(-2, -1)
    weights = weights / weights.sum(-1, keepdim=True)
    expected = attention.out((weights @ values).transpose(1, 2).reshape(2, 5, 8))
    torch.testing.assert_close(attention(x), expected)


def test_attention_does_not_care_for_the_order_of_tokens() -> None:
    torch.manual_seed(0)
    block, x, order = Block(8, 2), features(1, 6, 8), torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(block(x)[:, order], block(x[:, order]), atol=1e-5, rtol=1e-4)
