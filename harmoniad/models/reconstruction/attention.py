"""Attention that detectors share: linear among all tokens, and softmax from a few to all."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LinearAttention(nn.Module):
    """Attention with the kernel elu(x) + 1 (Katharopoulos et al., ICML 2020).

    It spreads over all tokens where softmax attention can pick out one, so an anomalous token cannot simply be copied.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend over (B, N, D); same shape. Linear in N."""
        batch, count, width = tokens.shape
        queries, keys, values = self.qkv(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        with torch.autocast(tokens.device.type, enabled=False):  # the sums over tokens overflow bfloat16
            queries, keys, values = F.elu(queries.float()) + 1, F.elu(keys.float()) + 1, values.float()
            context = keys.transpose(-2, -1) @ values
            norm = queries @ keys.sum(dim=-2).unsqueeze(-1)
            mixed = (queries @ context) / norm
        return self.out(mixed.transpose(1, 2).reshape(batch, count, width))


class Block(nn.Module):
    """A pre-norm transformer block with linear attention."""

    def __init__(self, width: int, heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = LinearAttention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to the same shape."""
        tokens = tokens + self.attention(self.norm_attention(tokens))
        return tokens + self.mlp(self.norm_mlp(tokens))


class CrossBlock(nn.Module):
    """A few tokens, such as prototypes, look at others: a pre-norm block of softmax attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = mlp(width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Queries (B, K, W) and tokens (B, N, W) to (B, K, W)."""
        asked = by_head(self.query(self.norm_attention(queries)), self.heads)
        keys, values = self.key_value(self.norm_attention(tokens)).chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(asked, by_head(keys, self.heads), by_head(values, self.heads))
        queries = queries + self.out(mixed.transpose(1, 2).flatten(2))
        return queries + self.mlp(self.norm_mlp(queries))


def by_head(tokens: Tensor, heads: int) -> Tensor:
    """(B, N, W) to (B, heads, N, W / heads)."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def mlp(width: int) -> nn.Sequential:
    """Two layers with four times the width between them."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
