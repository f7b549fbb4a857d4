"""The section `detector` of `params.yaml`, put together from the designs of all detectors.

A detector is a folder beside this file that holds `design.py` and `detector.py`. The folder `inp_former` has the
classes `InpFormer` (its knobs) and `InpFormerDetector`, and its section in `params.yaml` is `detector.inp_former`.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import create_model

from harmoniad.section import Section

DEFAULT = "harmoniad"


def class_prefix(name: str) -> str:
    """How the classes of a detector's folder begin: `inp_former` gives `InpFormer`."""
    return name.title().replace("_", "")


def _design(name: str) -> type[Section]:
    design: type[Section] = getattr(import_module(f"harmoniad.models.{name}.design"), class_prefix(name))
    return design


DETECTORS = tuple(
    sorted(
        design.parent.name
        for design in Path(__file__).parent.glob("*/design.py")
        if design.with_name("detector.py").is_file()
    )
)

if TYPE_CHECKING:

    class Detector(Section):
        """Which detector is trained, and the designs of all: `detector.patchcore` is a `Patchcore`."""

        name: str = DEFAULT

        def __getattr__(self, name: str) -> Any: ...

else:
    Detector = create_model(
        "Detector",
        __base__=Section,
        __doc__="Which detector is trained, and the designs of all.",
        name=(Literal[DETECTORS], DEFAULT),
        **{name: (_design(name), _design(name)()) for name in DETECTORS},
    )
