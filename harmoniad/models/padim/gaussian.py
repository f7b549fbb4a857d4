"""A multivariate Gaussian at every position of a grid, fitted from a stream of images."""

import torch
from torch import Tensor

POSITIONS_AT_ONCE = 128  # bounds the memory of the factorisation


class GaussianSums:
    """What is needed of the images to know mean and covariance at each position.

    Memory: positions * channels ** 2 numbers of 8 bytes, whatever the number of images.
    """

    def __init__(self, positions: int, channels: int, device: torch.device) -> None:
        self._count = 0
        self._sum = torch.zeros(positions, channels, dtype=torch.float64, device=device)
        self._products = torch.zeros(positions, channels, channels, dtype=torch.float64, device=device)

    def add(self, embeddings: Tensor) -> None:
        """Take in images (B, P, D)."""
        by_position = embeddings.double().transpose(0, 1)
        self._count += len(embeddings)
        self._sum += by_position.sum(1)
        self._products.baddbmm_(by_position.transpose(1, 2), by_position)

    def gaussians(self, regularisation: float) -> tuple[Tensor, Tensor]:
        """Estimate the Gaussians (PaDiM, section III-B), from at least two images.

        `regularisation` times the variance of a channel over all images and positions is added to the diagonal of the
        covariance. The paper adds 0.01 to features of unit order; the encoders here differ a hundredfold in scale.

        Returns:
            Means (P, D) and, with L the Cholesky factor of a covariance, its inverse (P, D, D), in float32.
        """
        mean = self._sum / self._count
        ridge = torch.diag_embed(regularisation * self._channel_variance())
        whitening = torch.empty(self._products.shape, dtype=torch.float32, device=mean.device)
        identity = torch.eye(mean.shape[1], dtype=torch.float64, device=mean.device)
        for start in range(0, len(mean), POSITIONS_AT_ONCE):
            part = slice(start, start + POSITIONS_AT_ONCE)
            scatter = self._products[part] - self._count * mean[part, :, None] * mean[part, None, :]
            factor = torch.linalg.cholesky(scatter / (self._count - 1) + ridge)
            whitening[part] = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False).float()
        return mean.float(), whitening

    def _channel_variance(self) -> Tensor:
        """Variance (D,) of each channel over all images and positions; one that is constant gets a small one."""
        seen = self._count * len(self._sum)
        squares = self._products.diagonal(dim1=1, dim2=2).sum(0) / seen
        variance = squares - (self._sum.sum(0) / seen).square()
        return variance.clamp(min=max(1e-6 * variance.max().item(), 1e-12))


def mahalanobis(embeddings: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    """Distance of (B, P, D) to the Gaussian at its position: (B, P)."""
    centred = (embeddings - mean).transpose(0, 1)
    return torch.bmm(centred, whitening.transpose(1, 2)).norm(dim=2).T
