"""CNC-like as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.features.text import TextTower, has_text_tower
from harmoniad.models.cnc.design import Cnc
from harmoniad.models.cnc.network import CncNetwork
from harmoniad.models.prompts import PromptedDetector
from harmoniad.params import Params


class CncDetector(PromptedDetector[Cnc]):
    """One network that rebuilds what is normal."""

    design_class = Cnc

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector.

        Raises:
            HarmoniadError: The encoder has a text tower, whose weights or tokenizer are missing.
        """
        design = params.detector.cnc
        wanted = design.text == "auto" and design.normality_weight and has_text_tower(params.encoder)
        text = TextTower.load(params.encoder) if wanted else None
        return cls(shapes, design, params.train, params.seed, text)

    def _build(self, shapes: tuple[Shape, ...], design: Cnc) -> CncNetwork:
        return CncNetwork(shapes, design, self._text)
