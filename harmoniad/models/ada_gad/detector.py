"""ADA-GAD, adapted to patches, as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.models.ada_gad.design import AdaGad
from harmoniad.models.ada_gad.network import AdaGadNetwork
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.params import Params


class AdaGadDetector(NetworkDetector[AdaGad]):
    """A graph autoencoder of the patches of an image."""

    design_class = AdaGad

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.ada_gad, params.train, params.seed)

    def _build(self, shapes: tuple[Shape, ...], design: AdaGad) -> AdaGadNetwork:
        return AdaGadNetwork(shapes, design, round(design.pretrain_share * self._train_params.steps))
