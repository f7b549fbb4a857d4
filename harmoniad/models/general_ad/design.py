"""The knobs of the GeneralAD-like discriminator."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harmoniad.section import Positive, Section, Share

Distortion = Literal["noise", "shuffle", "copy"]


class GeneralAd(Section):
    """A discriminator of distorted features in the manner of GeneralAD (Straeter et al., ECCV 2024)."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Channels that the discriminator works in."""
    heads: Positive = 4
    grid: Annotated[int, Field(ge=0)] = 16
    """Side of the token grid; 0 takes the finest of the tapped layers, at a multiple of the cost."""
    distortions: Annotated[list[Distortion], Field(min_length=1)] = ["noise", "shuffle", "copy"]
    """One of these is drawn for each image of a batch."""
    noise: Annotated[float, Field(gt=0)] = 0.5
    """Standard deviation of the noise, in standard deviations of a channel."""
    most_moved: Share = 0.25
    """Share of the tokens that are shuffled or copied at most."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self
