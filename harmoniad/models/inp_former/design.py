"""The knobs of the INP-Former-like reconstruction."""

from typing import Annotated

from pydantic import Field

from harmoniad.models.reconstruction.common_design import Reconstruction
from harmoniad.section import Positive


class InpFormer(Reconstruction):
    """A reconstruction in the manner of INP-Former (Luo et al., CVPR 2025), from prototypes of the image itself.

    Its soft mining takes the place of `train.hard_mining_share` and `train.hard_mining_steps`.
    """

    prototypes: Positive = 6
    """Prototypes gathered from each image."""
    extractor_blocks: Positive = 1
    """Blocks that gather them."""
    coherence_weight: Annotated[float, Field(ge=0)] = 0.2
    """Weight of the distance of the tokens to their nearest prototype in the loss."""
    mining_power: Annotated[float, Field(ge=0)] = 3.0
    """How much more the tokens count that are hard to rebuild; 0 counts all alike."""
