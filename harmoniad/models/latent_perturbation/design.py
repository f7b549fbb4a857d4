"""The knobs of the autoencoder with adversarial latent perturbations."""

from typing import Annotated

from pydantic import Field

from harmoniad.section import Positive, Section


class LatentPerturbation(Section):
    """An autoencoder against a distorter of its latent features (Khazaie et al. 2022)."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Channels that the networks work in."""
    latent: Positive = 48
    """Channels of the latent features, which have half the grid's side."""
    radius: Annotated[float, Field(ge=0)] = 0.5
    """Length of a perturbation as a share of the length of the latent features; 0 is a plain autoencoder."""
    grid: Annotated[int, Field(ge=0)] = 16
    """Side of the patch grid; 0 takes the finest of the tapped layers."""
