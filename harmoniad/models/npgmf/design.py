"""NPGMF's knobs; each part can be switched off."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harmoniad.section import Fraction, Positive, Section


class Npgmf(Section):
    """Our reading of NPGMF's abstract (arXiv 2506.18544): a logical and a structural module, trained apart."""

    joint: bool = True
    """One model over all categories; otherwise one a category, which must be known when scoring."""
    logical: bool = True
    """The decoder that rebuilds an image from a bottleneck and priors."""
    composition: bool = True
    """How unusual it is which codes an image is made of, and where; needs the codebooks."""
    structural: Literal["memory", "reconstruction", "none"] = "memory"
    """What finds damage: a memory of normal patches, or a decoder with a wide bottleneck (reverse distillation)."""
    fusion: Literal["sum", "maximum"] = "sum"
    """How the maps are joined, once quantiles of held-out normal images have brought them to one scale."""
    by_place: bool = True
    """The quantiles are those of each place in the image, so that a place that is always hard counts less."""

    prior: Literal["auto", "text", "learned", "none"] = "auto"
    """The decoder's prior of a category: the text tower's vector of its name, a learned vector, or none. `auto` takes
    the text tower where there is one."""
    prompt: str = "a photo of a {}"
    """What the text tower reads of a category."""
    text_encoder: str = ""
    """The open_clip model whose text tower reads it; empty takes that of the encoder, if it has one."""
    text_weights: str = ""
    """Its weights, as in `encoder.weights`."""

    codebooks: bool = True
    """Codes of representative normal tokens reach the decoder."""
    codes: Positive = 512
    code_channels: Positive = 64
    code_levels: Positive = 3
    """How many of the deepest levels have a codebook."""
    code_decay: Fraction = 0.99
    commitment: Annotated[float, Field(ge=0)] = 0.25
    code_use: Literal["attended", "pooled"] = "attended"
    """How the quantised map reaches the decoder: attended by the bottleneck's vector, or averaged."""

    bottleneck: Positive = 64
    """Length of the vector that all of the decoder's knowledge of the image passes through."""
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 64
    """Channels that the networks work in."""
    grid: Annotated[int, Field(ge=0)] = 16
    """Side of the finest grid that is rebuilt; 0 takes that of each level."""

    memory_patches: Positive = 5000
    """Patches that the structural module remembers."""

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if not (self.logical or self.structural != "none" or (self.composition and self.codebooks)):
            raise ValueError("logical, composition (with codebooks) and structural cannot all be off")
        return self
