"""The autoencoder with adversarial latent perturbations as a detector."""

from typing import Self

from harmoniad.features.cache import Shape
from harmoniad.models.latent_perturbation.design import LatentPerturbation
from harmoniad.models.latent_perturbation.network import LatentPerturbationNetwork
from harmoniad.models.network_detector import NetworkDetector
from harmoniad.params import Params


class LatentPerturbationDetector(NetworkDetector[LatentPerturbation]):
    """An autoencoder that withstands the perturbations that hurt it most; what it cannot rebuild is unusual."""

    design_class = LatentPerturbation

    @classmethod
    def create(cls, shapes: tuple[Shape, ...], params: Params) -> Self:
        """An untrained detector."""
        return cls(shapes, params.detector.latent_perturbation, params.train, params.seed)

    def _build(self, shapes: tuple[Shape, ...], design: LatentPerturbation) -> LatentPerturbationNetwork:
        return LatentPerturbationNetwork(shapes, design)
