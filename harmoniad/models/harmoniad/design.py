"""HarmoniAD's knobs."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from harmoniad.section import Fraction, Positive, Section


class Harmoniad(Section):
    """The design of the model; every line is an ablation switch."""

    norm: Literal["layer", "channel"] = "layer"
    """`layer` normalises each token over its channels, as suits a transformer; `channel` keeps the magnitudes, as suits
    a convolutional network, whose magnitudes tell something (head 1 then normalises each channel over the images)."""
    memory: bool = True
    """Measure the deviation from a memory of normal tokens. Without it only the reconstruction (head 1) is left."""
    memory_patches: Positive = 5_000
    """Tokens that the memory keeps, over all categories."""
    memory_channels: Positive = 384
    """Principal components that the memory keeps of the features."""
    bands: bool = True
    """The lengths of the deviation's low and high band are maps of their own."""
    place: bool = True
    """How unusual a token is at its place (PaDiM's Gaussians) is a map of its own, for parts that always lie alike."""
    head: bool = True
    """Head 2: a network on the deviation, trained on made defects."""
    head_steps: Positive = 400
    head_split: bool = False
    """Whether its two paths see the low and the high band of the deviation; otherwise both see all of it."""
    feature_defects: bool = False
    """Teach head 2 defects that are made in the features, too."""
    feature_noise: Annotated[float, Field(gt=0)] = 0.5
    """Strength of the noise, in standard deviations of each channel."""
    fusion: Literal["earned", "equal"] = "earned"
    """Weights of the maps: earned on good images against copies with made defects, or equal."""
    split: bool = True
    """The frequency split of head 1; without it the decoder is a plain one."""
    gate: Literal["soft", "hard", "gaussian", "content"] = "soft"
    gate_radius: Fraction = 0.15
    """Radius of the gate, of 1 for the highest frequency; where it is learned, its start."""
    gate_softness: Fraction = 0.05
    fsam: bool = True
    gscm: bool = True
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 96
    """Channels that the networks work in."""
    heads: Positive = 4
    """Of the linear attention."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    reconstruction: bool = False
    """Head 1: a decoder predicts the features from themselves."""
    blocks: Positive = 4
    """Of the decoder."""
    grid: Annotated[int, Field(ge=0)] = 0
    """Side of the decoder's token grid; 0 takes the finest of the tapped layers."""
    groups: Positive = 2
    """Into how many groups, from shallow to deep, the decoder's target layers are joined."""

    @model_validator(mode="after")
    def _something_measures(self) -> "Harmoniad":
        if not self.memory and not self.reconstruction:
            raise ValueError("memory or reconstruction must be true")
        if not self.memory and (self.bands or self.place or self.head):
            raise ValueError("bands, place and head need memory: true")
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self
