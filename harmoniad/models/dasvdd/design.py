"""The knobs of the DASVDD-like autoencoder."""

from typing import Annotated

from pydantic import Field

from harmoniad.section import Fraction, Positive, Section


class Dasvdd(Section):
    """An autoencoder whose codes are drawn to a centre, in the manner of DASVDD (Hojjati and Armanfar, 2021)."""

    width: Positive = 512
    """Of the hidden layer."""
    code: Positive = 64
    """Numbers in the code of a token."""
    centre_share: Fraction = 0.1
    """Share of the tokens of a batch that moves the centre; the others train the autoencoder."""
    gamma: Annotated[float, Field(ge=0)] | None = 1.0
    """Weight of the distance to the centre; null takes the ratio of both errors before the first step, as the paper."""
    grid: Annotated[int, Field(ge=0)] = 16
    """Side of the token grid; 0 takes the finest of the tapped layers, at a multiple of the cost."""
