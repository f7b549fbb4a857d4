"""INP-Former-like as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.models.inp_former.design import InpFormer
from harmoniad.models.inp_former.network import InpFormerNetwork
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.params import Params


class InpFormerDetector(NetworkDetector[InpFormer]):
    """One network that rebuilds each image from prototypes of that image."""

    design_class = InpFormer

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.inp_former, params.train, params.seed)

    def _build(self, shapes: tuple[Shape, ...], design: InpFormer) -> InpFormerNetwork:
        return InpFormerNetwork(shapes, design)
