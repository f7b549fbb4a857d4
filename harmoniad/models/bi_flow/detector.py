"""BiFlow, adapted to patches, as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.models.bi_flow.design import BiFlow
from harmoniad.models.bi_flow.network import BiFlowNetwork
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.params import Params


class BiFlowDetector(NetworkDetector[BiFlow]):
    """A classifier of patches against pseudo-anomalies that a flow made."""

    design_class = BiFlow

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.bi_flow, params.train, params.seed)

    def _build(self, shapes: tuple[Shape, ...], design: BiFlow) -> BiFlowNetwork:
        return BiFlowNetwork(shapes, design)
