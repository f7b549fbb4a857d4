"""The knobs that the reconstructions have in common."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harmoniad.section import Positive, Section


class Reconstruction(Section):
    """What the rival reconstructions have in common; the same as in `Harmoniad`."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Channels that the decoder works in."""
    blocks: Positive = 4
    heads: Positive = 4
    grid: Annotated[int, Field(ge=0)] = 0
    """Side of the token grid; 0 takes the finest of the tapped layers."""
    groups: Positive = 2
    """Into how many groups, from shallow to deep, the tapped layers are averaged."""
    norm: Literal["layer", "channel"] = "layer"
    """Each token over its channels, or each channel over the training images."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self
