"""Prompts of which some words are learned, and detectors that are told of normal and abnormal by such prompts."""

from abc import abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.features.text import TextTower
from harmoniad.models.detector import FeatureSet, SyntheticSet
from harmoniad.models.network_detector import Design, NetworkDetector, ScoringNetwork
from harmoniad.params import Train

SPREAD = 0.02  # of a word's numbers at the start, as CLIP's own words have


@dataclass(frozen=True)
class TextSize:
    """The sizes of a text tower: of its words, and of the vectors that it gives."""

    width: int
    dimensions: int


class LearnedPrompts(nn.Module):
    """Prompts that begin with learned words and end with given ones.

    While it is trained the prompts go through the text tower. Afterwards `settle` keeps what the tower makes of them,
    so that a trained model needs no tower.
    """

    def __init__(self, text: TextTower | TextSize, *, count: int, words: int, words_before: int, ending: str) -> None:
        """Start with random words.

        Args:
            text: The tower, or its sizes alone where the prompts are restored.
            count: How many prompts there are.
            words: How many learned words each has for itself.
            words_before: How many learned words are given to `forward` and come before them.
            ending: The words at the end.
        """
        super().__init__()
        self.words = nn.Parameter(SPREAD * torch.randn(count, words, text.width))
        self.embeddings = nn.Parameter(torch.zeros(count, text.dimensions), requires_grad=False)
        self._tower = text if isinstance(text, TextTower) else None
        self._text = " ".join(["x"] * (words_before + words) + [ending])

    def forward(self, before: Tensor | None = None) -> Tensor:
        """Embed the prompts.

        Args:
            before: Learned words (1, k, W) that all prompts begin with.

        Returns:
            (count, E) of unit length.
        """
        return self._embed(before) if self.training else self.embeddings

    @torch.no_grad()
    def settle(self, before: Tensor | None = None) -> None:
        """Keep what the tower makes of the prompts."""
        self.embeddings.copy_(self._embed(before))

    def _embed(self, before: Tensor | None) -> Tensor:
        if self._tower is None:
            raise ValueError("prompts that were restored have no text tower to be trained with")
        count = len(self.words)
        learned = self.words if before is None else torch.cat([before.expand(count, -1, -1), self.words], dim=1)
        tower = self._tower.to(learned.device)
        return tower.encode(tower.tokens([self._text] * count), learned)


class SharedSpace(nn.Module):
    """Brings tokens to the space that images and texts share.

    Where the tokens are as wide as the vision tower is, by the tower's own last norm and projection, which stay as they
    are; else by a projection that is learned.
    """

    def __init__(self, channels: int, text: TextTower | TextSize) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, text.dimensions, bias=False)
        own = text.vision_end if isinstance(text, TextTower) else None
        if own is not None and own["project.weight"].shape[1] == channels:
            self.load_state_dict(own)
            self.requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D, h, w) to tokens (B, h * w, E) of unit length."""
        return F.normalize(self.project(self.norm(features.flatten(2).transpose(1, 2))).float(), dim=-1)


class PromptedNetwork(ScoringNetwork):
    """A network with learned prompts."""

    @abstractmethod
    def settle(self) -> None:
        """Keep what the text tower makes of the learned prompts."""


class PromptedDetector(NetworkDetector[Design]):
    """A detector whose network learns prompts; for the shape of its tensors it remembers the sizes of the tower."""

    def __init__(
        self,
        shapes: tuple[Shape, ...],
        design: Design,
        optimisation: Train,
        seed: int,
        text: TextTower | TextSize | None,
    ) -> None:
        self._text = text
        super().__init__(shapes, design, optimisation, seed)

    @classmethod
    def _arguments(cls, config: dict[str, Any]) -> dict[str, Any]:
        text = TextSize(**config["text"]) if config["text"] else None
        return {**super()._arguments(config), "text": text}

    def fit(
        self, features: FeatureSet, *, synthetic: SyntheticSet | None = None, device: torch.device, checkpoint: Path
    ) -> list[dict[str, float]]:
        """Train the network, and keep what the text tower makes of the prompts."""
        log = super().fit(features, synthetic=synthetic, device=device, checkpoint=checkpoint)
        assert isinstance(self._network, PromptedNetwork)
        self._network.settle()
        return log

    def config(self) -> dict[str, Any]:
        """As of every network, and the sizes of the text tower."""
        text = TextSize(self._text.width, self._text.dimensions) if self._text is not None else None
        return {**super().config(), "text": asdict(text) if text else None}


def mean_cosine(vectors: Tensor) -> Tensor:
    """Mean squared cosine between different ones of (n, E) of unit length: how alike they are, a scalar."""
    count = len(vectors)
    if count < 2:
        return vectors.new_zeros(())
    cosines = vectors @ vectors.T
    return (cosines.square().sum() - cosines.diagonal().square().sum()) / (count * (count - 1))
