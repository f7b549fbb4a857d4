"""The knobs of MemAAE on patches."""

from typing import Annotated

from pydantic import Field

from harmoniad.section import Positive, Section


class MemAae(Section):
    """An adversarial autoencoder with a compressive memory (Xiao et al. 2021, for time series), adapted to patches."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Channels that the networks work in."""
    latent: Positive = 48
    """Channels of a code."""
    memory: Positive = 256
    """Codes of normal patches that are remembered."""
    adversarial_weight: Annotated[float, Field(ge=0)] = 0.05
    """Of the discriminator, which tells codes from a normal distribution."""
    prediction_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of the patch predicted from its neighbours against the patch rebuilt from itself, in the loss and the score."""
    grid: Annotated[int, Field(ge=0)] = 16
    """Side of the patch grid; 0 takes the finest of the tapped layers."""
