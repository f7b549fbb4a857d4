"""The knobs of the CNC-like reconstruction."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harmoniad.models.reconstruction.common_design import Reconstruction
from harmoniad.section import Positive


class Cnc(Reconstruction):
    """A reconstruction held to normality in the manner of CNC (Wang et al., AAAI 2025)."""

    grid: Annotated[int, Field(ge=0)] = 16
    norm: Literal["layer", "channel"] = "channel"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    experts: Annotated[int, Field(ge=0)] = 5
    """Experts among which the tokens are shared; 0 puts one network in their place."""
    chosen: Positive = 2
    """Experts that each token goes to."""
    balance_weight: Annotated[float, Field(ge=0)] = 0.01
    """Weight in the loss of how unevenly the experts are used."""
    prompts: Positive = 4
    """Vectors that say what is normal, the same for all categories."""
    words: Positive = 5
    """Learned words of each prompt."""
    text: Literal["auto", "off"] = "auto"
    """`auto`: prompts through the text tower where the encoder has one. `off`: learned vectors."""
    normality_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight in the loss of the distance of the decoded tokens to normality; 0 leaves it out."""

    @model_validator(mode="after")
    def _no_more_experts_than_there_are(self) -> Self:
        if 0 < self.experts < self.chosen:
            raise ValueError("chosen must not be more than experts")
        return self
