"""MemAAE, adapted to patches, as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.models.mem_aae.design import MemAae
from harmoniad.models.mem_aae.network import MemAaeNetwork
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.params import Params


class MemAaeDetector(NetworkDetector[MemAae]):
    """Patches rebuilt, and predicted from their neighbours, out of a small memory."""

    design_class = MemAae

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.mem_aae, params.train, params.seed)

    def _build(self, shapes: tuple[Shape, ...], design: MemAae) -> MemAaeNetwork:
        return MemAaeNetwork(shapes, design)
