"""The knobs of the Dinomaly-like reconstruction."""

from typing import Annotated

from pydantic import Field

from harmoniad.models.reconstruction.common_design import Reconstruction


class Dinomaly(Reconstruction):
    """A reconstruction in the manner of Dinomaly (Guo et al., CVPR 2025): HarmoniAD without its frequency part."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
