"""The knobs of the FAPrompt-like prompts."""

from typing import Annotated

from pydantic import Field

from harmoniad.section import Positive, Section, Share


class FaPrompt(Section):
    """Prompts of normal and of abnormal in the manner of FAPrompt (Zhu et al., ICCV 2025)."""

    normal_words: Positive = 5
    """Learned words that all prompts begin with."""
    abnormal_words: Positive = 2
    """Learned words that each abnormal prompt has besides."""
    abnormal_prompts: Positive = 10
    prior: bool = True
    """Whether an image's own strangest tokens change the abnormal prompts."""
    prior_share: Share = 0.01
    """Share of the tokens of an image that the prior is made from; at least one is."""
    likeness_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight in the loss of how alike the abnormal prompts are."""
    prior_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight in the loss of the prior that a good image gives."""
