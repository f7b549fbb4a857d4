"""The self-supervised autoencoder as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.models.denoising_autoencoder.design import DenoisingAutoencoder
from harmoniad.models.denoising_autoencoder.network import DenoisingAutoencoderNetwork
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.params import Params


class DenoisingAutoencoderDetector(NetworkDetector[DenoisingAutoencoder]):
    """One network that repairs features; what it changes is unusual."""

    design_class = DenoisingAutoencoder

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.denoising_autoencoder, params.train, params.seed)

    def _build(self, shapes: tuple[Shape, ...], design: DenoisingAutoencoder) -> DenoisingAutoencoderNetwork:
        return DenoisingAutoencoderNetwork(shapes, design)
