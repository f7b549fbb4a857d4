"""Dinomaly-like as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.models.dinomaly.design import Dinomaly
from harmoniad.models.harmoniad.design import Harmoniad
from harmoniad.models.harmoniad.network import HarmoniadNetwork
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.params import Params


class DinomalyDetector(NetworkDetector[Dinomaly]):
    """HarmoniAD's own network with `split: false`, without the memory: what the frequency part has to beat.

    It is the same by construction: the same class, the same loop, the same map.
    """

    design_class = Dinomaly

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.dinomaly, params.train, params.seed)

    def _build(self, shapes: tuple[Shape, ...], design: Dinomaly) -> HarmoniadNetwork:
        only_head_1 = Harmoniad(reconstruction=True, split=False, memory=False, bands=False, place=False, head=False)
        return HarmoniadNetwork(shapes, only_head_1.model_copy(update=design.model_dump()))
