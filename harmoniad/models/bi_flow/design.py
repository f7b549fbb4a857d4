"""The knobs of BiFlow on patches."""

from typing import Annotated

from pydantic import Field

from harmoniad.section import Positive, Section


class BiFlow(Section):
    """A classifier against a flow's pseudo-anomalies (Peng et al. 2024, for network traffic), adapted to patches."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Channels of the hidden layers."""
    couplings: Positive = 4
    """Steps of the flow."""
    noise: Annotated[float, Field(gt=0)] = 1.0
    """Largest deviation of the noise that makes a pseudo-anomaly of a normal patch, where normal patches have 1."""
    patches: Positive = 2048
    """Drawn from a batch of images for one step."""
    grid: Annotated[int, Field(ge=0)] = 16
    """Side of the patch grid; 0 takes the finest of the tapped layers."""
