"""GeneralAD-like as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.models.general_ad.design import GeneralAd
from harmoniad.models.general_ad.network import GeneralAdNetwork
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.params import Params


class GeneralAdDetector(NetworkDetector[GeneralAd]):
    """One network that tells distorted tokens from those of good images."""

    design_class = GeneralAd

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.general_ad, params.train, params.seed)

    def _build(self, shapes: tuple[Shape, ...], design: GeneralAd) -> GeneralAdNetwork:
        return GeneralAdNetwork(shapes, design)
