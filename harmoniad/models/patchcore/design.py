"""PatchCore's knobs."""

from typing import Annotated

from pydantic import Field

from harmoniad.section import Positive, Section


class Patchcore(Section):
    """PatchCore's memory bank (Roth et al., CVPR 2022)."""

    coreset: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the training patches that the memory bank keeps."""
    max_patches: Positive = 50_000
    """Training patches drawn at random, per bank, before the coreset is chosen: this bounds the memory."""
    joint: bool = True
    """One bank over all categories; otherwise a bank a category, which must be known when scoring."""
