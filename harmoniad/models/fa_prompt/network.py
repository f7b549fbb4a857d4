"""The network: tokens in the space of texts, compared with learned prompts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.features.text import TextTower
from harmoniad.models.fa_prompt.design import FaPrompt
from harmoniad.models.harmoniad.head import segmentation_loss
from harmoniad.models.prompts import LearnedPrompts, PromptedNetwork, SharedSpace, TextSize, mean_cosine

NORMAL, ABNORMAL = "object", "damaged object"
SHARPNESS = 1 / 0.07  # CLIP's own temperature at the start of its training


class FaPromptNetwork(PromptedNetwork):
    """How much nearer a token is to the abnormal prompts than to the normal one, the mean over the layers."""

    def __init__(self, shapes: tuple[Shape, ...], design: FaPrompt, text: TextTower | TextSize) -> None:
        super().__init__()
        self.design = design
        self.grid = max(shape[1] for shape in shapes)
        self.spaces = nn.ModuleList(SharedSpace(shape[0], text) for shape in shapes)
        self.normal = LearnedPrompts(text, count=1, words=design.normal_words, words_before=0, ending=NORMAL)
        self.abnormal = LearnedPrompts(
            text,
            count=design.abnormal_prompts,
            words=design.abnormal_words,
            words_before=design.normal_words,
            ending=ABNORMAL,
        )
        self.prior = Prior(text.dimensions) if design.prior else None
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS).log())
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, layers: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Score layers (B, D, h, w).

        Returns:
            Logits (B, grid, grid), the prior of each image (B, E), zero without it, and the abnormal prompts (n, E).
        """
        tokens = [space(self._on_grid(layer)) for space, layer in zip(self.spaces, layers, strict=True)]
        normal, abnormal = self.normal(), self.abnormal(self.normal.words)
        strangeness = torch.stack([_nearness(token, abnormal.mean(0)) - token @ normal[0] for token in tokens]).mean(0)
        prior = tokens[0].new_zeros(len(tokens[0]), normal.shape[1])
        if self.prior is not None:
            prior = self.prior(self._strangest(tokens[-1], strangeness))
            prototype = abnormal.mean(0) + prior[:, None]  # another for each image: (B, 1, E)
            nearness = [_nearness(token, prototype) - token @ normal[0] for token in tokens]
            strangeness = torch.stack(nearness).mean(0)
        logits = self.sharpness.exp() * strangeness + self.bias
        return logits.unflatten(1, (self.grid, self.grid)), prior, abnormal

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Focal and dice loss of the logits, the likeness of the abnormal prompts, and the prior of good images.

        Args:
            layers: (B, D, h, w) for each layer, and at the end the defective share of each cell (B, g, g).
            hard_mining_share: Not used.
        """
        *features, masks = layers
        logits, prior, abnormal = self(features)
        shares = F.interpolate(masks[:, None], size=logits.shape[-2:], mode="area")[:, 0]
        found = segmentation_loss(logits, shares)
        likeness = mean_cosine(abnormal)
        is_good = (masks.amax((1, 2)) == 0).float()
        of_good = (prior.square().sum(1) * is_good).mean()
        loss = found + self.design.likeness_weight * likeness + self.design.prior_weight * of_good
        return loss, {"likeness": likeness.detach(), "prior": of_good.detach()}

    def anomaly_maps(self, layers: Sequence[Tensor], side: int) -> Tensor:
        """The logits: (B, side, side)."""
        maps = self(layers)[0][:, None]
        return F.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)[:, 0]

    def settle(self) -> None:
        """Keep what the text tower makes of the prompts."""
        self.normal.settle()
        self.abnormal.settle(self.normal.words)

    def _strangest(self, tokens: Tensor, strangeness: Tensor) -> Tensor:
        """Mean of those tokens (B, N, E) of each image that are strangest by (B, N): (B, E)."""
        count = max(1, round(self.design.prior_share * tokens.shape[1]))
        index = strangeness.topk(count, dim=1).indices
        return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2])).mean(1)

    def _on_grid(self, layer: Tensor) -> Tensor:
        return F.interpolate(layer, size=(self.grid, self.grid), mode="bilinear", align_corners=False)


class Prior(nn.Module):
    """What an image's strangest tokens add to the abnormal prompts: nothing before it has learned."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        hidden = max(1, dimensions // 4)
        self.inner, self.outer = nn.Linear(dimensions, hidden), nn.Linear(hidden, dimensions)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, E) to the same shape."""
        return self.outer(F.relu(self.inner(tokens)))


def _nearness(tokens: Tensor, prototype: Tensor) -> Tensor:
    """Cosine of tokens (B, N, E) of unit length and a prototype (E,) or (B, 1, E): (B, N)."""
    return (tokens * F.normalize(prototype, dim=-1)).sum(-1)
