"""The knobs of the self-supervised autoencoder."""

from typing import Annotated

from pydantic import Field

from harmoniad.section import Positive, Section, Share


class DenoisingAutoencoder(Section):
    """An autoencoder that repairs partly corrupted features (Bauer et al. 2022)."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Channels that the network works in."""
    blocks: Positive = 3
    """Blocks of dilated convolutions; the dilation doubles from block to block."""
    grid: Annotated[int, Field(ge=0)] = 16
    """Side of the patch grid; 0 takes the finest of the tapped layers."""
    corrupted_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Of the patches of a training image, on average."""
    corrupted_weight: Share = 0.5
    """Weight of the corrupted patches in the loss; the untouched ones, which are to stay as they are, have the rest."""
