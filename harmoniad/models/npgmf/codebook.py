"""Vector quantisation with codes that follow the tokens by moving averages (van den Oord et al., NeurIPS 2017)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EXACT_CHANNELS = 600  # beyond, principal components are found by random projection (Halko et al., 2011)
DEAD_SHARE = 0.05  # of the mean use; a code that is used less is put where a token lies


class Codebook(nn.Module):
    """Representative normal tokens.

    The codes are no parameters: each is the moving mean of the tokens that were nearest to it (appendix A.1). All that
    the gradient learns is to give tokens near them (the commitment) that still serve the decoder (straight through).

    Args:
        codes: How many.
        channels: Of a token.
        decay: Of the moving averages.
    """

    codes: Tensor
    uses: Tensor
    sums: Tensor

    def __init__(self, codes: int, channels: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("codes", torch.randn(codes, channels))
        self.register_buffer("uses", torch.ones(codes))
        self.register_buffer("sums", self.codes.clone())

    @torch.no_grad()
    def start(self, tokens: Tensor) -> None:
        """Put the codes where randomly drawn tokens (N, C) lie; on some twice if they are few."""
        self.codes.copy_(self._drawn(tokens, len(self.codes)))
        self.uses.fill_(1)
        self.sums.copy_(self.codes)

    def nearest(self, tokens: Tensor) -> Tensor:
        """Index of the nearest code of each of (N, C): (N,)."""
        return torch.addmm(self.codes.square().sum(1), tokens, self.codes.T, alpha=-2).argmin(1)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Replace each token by its nearest code; in training mode the codes follow.

        Args:
            tokens: (B, N, C).

        Returns:
            The quantised tokens (B, N, C), whose gradient goes straight through to `tokens`; the mean squared distance
            of the tokens to their codes, which pulls the tokens only; and the perplexity, the number of equally used
            codes that would be as varied, from 1 to K.
        """
        with torch.autocast(tokens.device.type, enabled=False):
            flat = tokens.float().flatten(0, 1)
            chosen = self.nearest(flat.detach())
            used = F.one_hot(chosen, len(self.codes)).to(flat.dtype)
            quantised = self.codes[chosen]
            commitment = (flat - quantised).square().mean()
            straight = flat + (quantised - flat).detach()
            share = used.mean(0)
            perplexity = (-(share * (share + 1e-12).log()).sum()).exp()
            if self.training:
                self._follow(flat.detach(), used)
        return straight.view_as(tokens), commitment, perplexity

    @torch.no_grad()
    def _follow(self, tokens: Tensor, used: Tensor) -> None:
        self.uses.lerp_(used.sum(0), 1 - self.decay)
        self.sums.lerp_(used.T @ tokens, 1 - self.decay)
        mean_use = self.uses.mean()
        dead = self.uses < DEAD_SHARE * mean_use
        if dead.any():
            self.uses[dead] = mean_use
            self.sums[dead] = mean_use * self._drawn(tokens, int(dead.sum()))
        self.codes.copy_(self.sums / self.uses[:, None])

    @staticmethod
    def _drawn(tokens: Tensor, count: int) -> Tensor:
        order = torch.randperm(len(tokens)).to(tokens.device)
        return tokens[order.repeat(-(-count // len(tokens)))[:count]]


@torch.no_grad()
def principal_components(tokens: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D,), the first principal components (D, count), and the standard deviations along them, of (N, D)."""
    mean = tokens.mean(0)
    centred = tokens - mean
    if tokens.shape[1] > EXACT_CHANNELS:
        _, singular, components = torch.svd_lowrank(centred, q=count, niter=4)
        return mean, components, singular / len(tokens) ** 0.5
    centred = centred.double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(tokens))
    values, vectors = values[-count:].flip(0), vectors[:, -count:].flip(1)
    return mean, vectors.float(), values.clamp(min=0).sqrt().float()
