"""The knobs of ADA-GAD on the patch graph."""

from typing import Annotated

from pydantic import Field

from harmoniad.section import Fraction, Positive, Section


class AdaGad(Section):
    """Anomaly-denoised graph autoencoders (He et al. 2024, for graphs), adapted to the graph of an image's patches."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Channels of an embedding."""
    neighbours: Positive = 8
    """Most similar patches of the same image that a patch is linked with."""
    pretrain_share: Fraction = 0.3
    """Of the training steps, for the encoders on anomaly-reduced views; the rest is the decoder's on the true graph."""
    masked_share: Fraction = 0.3
    """Of the patches, or links, that are taken out of an anomaly-reduced view."""
    sharpness: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the regularisation that wants the errors gathered in few patches; 0 leaves it away."""
    grid: Annotated[int, Field(ge=0)] = 16
    """Side of the patch grid; 0 takes the finest of the tapped layers."""
