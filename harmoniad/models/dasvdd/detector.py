"""DASVDD-like as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.models.dasvdd.design import Dasvdd
from harmoniad.models.dasvdd.network import DasvddNetwork
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.params import Params


class DasvddDetector(NetworkDetector[Dasvdd]):
    """One autoencoder whose codes are drawn to a centre."""

    design_class = Dasvdd

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.dasvdd, params.train, params.seed)

    def _build(self, shapes: tuple[Shape, ...], design: Dasvdd) -> DasvddNetwork:
        return DasvddNetwork(shapes, design)
