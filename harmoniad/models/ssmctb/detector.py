"""A block in the manner of SSMCTB as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.models.ssmctb.design import Ssmctb
from harmoniad.models.ssmctb.network import SsmctbNetwork
from harmoniad.params import Params


class SsmctbDetector(NetworkDetector[Ssmctb]):
    """One network that predicts each token from its neighbours at the corners."""

    design_class = Ssmctb

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.ssmctb, params.train, params.seed)

    def _build(self, shapes: tuple[Shape, ...], design: Ssmctb) -> SsmctbNetwork:
        return SsmctbNetwork(shapes, design)
