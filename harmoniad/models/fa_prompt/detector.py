"""FAPrompt-like as a detector."""

from pathlib import Path
from typing import Self

import torch

from harmoniad.errors import HarmoniadError
from harmoniad.features.cache import Shape
from harmoniad.features.text import TextTower, has_text_tower
from harmoniad.models.detector import FeatureSet, SyntheticSet
from harmoniad.models.fa_prompt.design import FaPrompt
from harmoniad.models.fa_prompt.network import FaPromptNetwork
from harmoniad.models.labelled import Labelled
from harmoniad.models.prompts import PromptedDetector
from harmoniad.params import Params


class FaPromptDetector(PromptedDetector[FaPrompt]):
    """Learned prompts of normal and of abnormal, taught by copies with made defects."""

    design_class = FaPrompt

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector.

        Raises:
            HarmoniadError: The encoder has no text tower, or its weights or its tokenizer are missing.
        """
        if not has_text_tower(params.encoder):
            raise HarmoniadError(
                f"detector.name: fa_prompt needs a text tower, which {params.encoder.name} has not. Set encoder.name "
                "to a model of open_clip, such as open_clip:ViT-L-14-336, and encoder.weights to openai or a file."
            )
        return cls(shapes, params.detector.fa_prompt, params.train, params.seed, TextTower.load(params.encoder))

    def _build(self, shapes: tuple[Shape, ...], design: FaPrompt) -> FaPromptNetwork:
        assert self._text is not None
        return FaPromptNetwork(shapes, design, self._text)

    def fit(
        self, features: FeatureSet, *, synthetic: SyntheticSet | None = None, device: torch.device, checkpoint: Path
    ) -> list[dict[str, float]]:
        """Learn the prompts from good images and from copies with made defects.

        Raises:
            HarmoniadError: There are no such copies.
        """
        if synthetic is None:
            raise HarmoniadError(
                "detector.name: fa_prompt learns from images with made defects. Set views.synthetic to 1 or more."
            )
        return super().fit(Labelled(features, synthetic), device=device, checkpoint=checkpoint)
