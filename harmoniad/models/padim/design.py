"""PaDiM's knobs."""

from typing import Annotated

from pydantic import Field

from harmoniad.section import Positive, Section


class Padim(Section):
    """PaDiM's Gaussians (Defard et al., ICPR Workshops 2021)."""

    channels: Positive = 100
    """Channels drawn at random from all layers. The memory grows with its square."""
    grid: Annotated[int, Field(ge=0)] = 0
    """Side of the grid of positions; 0 takes that of the finest layer, at most 32."""
    regularisation: Annotated[float, Field(gt=0)] = 0.01
    """Added to each channel's variance, as a share of its variance over the whole training set."""
    joint: bool = True
    """One Gaussian a position over all categories; otherwise one a category, which must be known when scoring."""
