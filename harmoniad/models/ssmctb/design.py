"""The knobs of the masked convolutional transformer block."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from harmoniad.section import Positive, Section


class Ssmctb(Section):
    """A masked convolutional transformer block in the manner of SSMCTB (Madan et al., TPAMI 2024)."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 256
    """Channels of the masked convolution."""
    distance: Positive = 1
    """How far the corners lie from the token that is predicted; more hides it better, and is harder."""
    pooled: Positive = 4
    """Side of the grid to which a channel is pooled before it becomes a token of the channel attention."""
    channel_width: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    """Width of the channel attention."""
    channel_blocks: Annotated[int, Field(ge=0)] = 1
    """Blocks of channel attention; 0 leaves the gate out."""
    heads: Positive = 4
    grid: Annotated[int, Field(ge=0)] = 16
    """Side of the token grid; 0 takes the finest of the tapped layers, at a multiple of the cost."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.channel_width % self.heads:
            raise ValueError("channel_width must be a multiple of heads")
        return self
