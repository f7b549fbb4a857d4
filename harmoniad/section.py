"""What a section of `params.yaml` is, and the numbers that many of them hold."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A section of `params.yaml`; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
