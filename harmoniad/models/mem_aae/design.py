"""The knobs of MemAAE on patches."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from harmoniad.section import Positive, Section


class MemAae(Section):
    """An adversarial autoencoder with a compressive memory (Xiao et al. 2021, for time series), adapted to patches."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Channels that the networks work in."""
    latent: Positive = 48
    """Channels of a code."""
    memory: Positive = 128
    """Codes of normal patches that are remembered."""
    parts: Positive = 8
    """Of a code, each looked up by itself; `latent` is a multiple of it."""
    adversarial_weight: Annotated[float, Field(ge=0)] = 0.01
    """Of the discriminator, which tells codes from a normal distribution."""
    prediction_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of the patch predicted from its neighbours against the patch rebuilt from itself, in the loss and the score."""
    grid: Annotated[int, Field(ge=0)] = 16
    """Side of the patch grid; 0 takes the finest of the tapped layers."""

    @model_validator(mode="after")
    def _parts_share_the_code(self) -> Self:
        if self.latent % self.parts:
            raise ValueError("latent must be a multiple of parts")
        return self
