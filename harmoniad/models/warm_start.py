"""Starting a training from the weights of a model that was trained before."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from harmoniad.features.cache import Shape
from harmoniad.features.encoders import EncoderSpec
from harmoniad.files import read_json, sha256_file
from harmoniad.models.detector import Detector
from harmoniad.models.storage import DESCRIPTION, TENSORS
from harmoniad.params import Params


@runtime_checkable
class Startable(Protocol):
    """A detector with networks that are trained by gradient."""

    def start_from(self, tensors: dict[str, Tensor]) -> bool:
        """Take over the networks' weights; the rest of the tensors does not matter.

        Returns:
            Whether there is a network at all.

        Raises:
            RuntimeError: The weights are those of another network.
        """


@dataclass(frozen=True)
class Start:
    """How a training starts.

    Attributes:
        sha256: Of the tensors that it starts from; None from scratch.
        line: For the user.
    """

    sha256: str | None
    line: str


def start_from(
    folder: Path, detector: Detector, shapes: tuple[Shape, ...], encoder: EncoderSpec, params: Params
) -> Start:
    """Give a detector the weights in `folder` if they are those of the same design on the same features."""
    if not (folder / TENSORS).is_file():
        return Start(None, "from scratch: there is no champion yet")
    description = read_json(folder / DESCRIPTION)
    why = _difference(description, shapes, encoder, params)
    if not why:
        if not isinstance(detector, Startable):
            why = f"{params.detector.name} has no weights that are trained by gradient"
        else:
            from safetensors.torch import load_file

            try:
                if detector.start_from(load_file(folder / TENSORS)):
                    return Start(sha256_file(folder / TENSORS), "warm start from the champion's weights")
                why = f"this design of {params.detector.name} has no weights that are trained by gradient"
            except RuntimeError:
                why = "its networks have other shapes"
    return Start(None, f"from scratch, the champion's weights cannot be used: {why}")


def _difference(description: dict[str, Any], shapes: tuple[Shape, ...], encoder: EncoderSpec, params: Params) -> str:
    """Why the weights do not fit; empty if they do."""
    name, config = description["detector"]["name"], description["detector"]["config"]
    if name != params.detector.name:
        return f"it is a {name}, not a {params.detector.name}"
    if EncoderSpec.from_dict(description["encoder"]) != encoder:
        return "it looks through another encoder"
    if [list(shape) for shape in shapes] != config.get("shapes", [list(shape) for shape in shapes]):
        return "its features have other shapes"
    wanted = getattr(params.detector, name).model_dump()
    design = config.get("design", wanted)
    other = sorted(key for key in wanted if design.get(key, wanted[key]) != wanted[key])
    return f"detector.{name}.{other[0]} was {design[other[0]]}" if other else ""
