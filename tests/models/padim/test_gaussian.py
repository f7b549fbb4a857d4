import numpy as np
import pytest
import torch

from harmoniad.models.padim.gaussian import GaussianSums, mahalanobis

CPU = torch.device("cpu")


def embeddings(count: int, positions: int = 5, channels: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(positions, channels, channels, generator=generator)
    noise = torch.randn(count, positions, 1, channels, generator=generator)
    return (noise @ mixing).squeeze(2) + 10 * torch.randn(positions, channels, generator=generator)


def fitted(images: torch.Tensor, batch: int, regularisation: float = 0.01) -> tuple[torch.Tensor, torch.Tensor]:
    sums = GaussianSums(images.shape[1], images.shape[2], CPU)
    for part in images.split(batch):
        sums.add(part)
    return sums.gaussians(regularisation)


def test_it_is_the_mahalanobis_distance_of_numpy() -> None:
    train, test = embeddings(30), embeddings(3, seed=1)
    found = mahalanobis(test, *fitted(train, batch=7)).numpy()
    images = train.double().numpy()
    ridge = 0.01 * np.diag(images.reshape(-1, 4).var(0))
    expected = np.empty((3, 5))
    for position in range(5):
        inverse = np.linalg.inv(np.cov(images[:, position].T) + ridge)
        for index in range(3):
            off = test[index, position].double().numpy() - images[:, position].mean(0)
            expected[index, position] = np.sqrt(off @ inverse @ off)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_batches_do_not_matter() -> None:
    images = embeddings(12)
    for one, other in zip(fitted(images, batch=12), fitted(images, batch=5), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_features_does_not_matter(scale: float) -> None:
    train, test = embeddings(10), embeddings(2, seed=1)
    expected = mahalanobis(test, *fitted(train, batch=10))
    torch.testing.assert_close(
        mahalanobis(scale * test, *fitted(scale * train, batch=10)), expected, rtol=1e-3, atol=1e-3
    )


def test_fewer_images_than_channels_and_a_constant_channel_are_no_trouble() -> None:
    images = embeddings(3, channels=8)
    images[:, :, 2] = 5.0
    distances = mahalanobis(images, *fitted(images, batch=3))
    assert distances.isfinite().all()
    assert (distances < 3).all()  # in standard deviations, of images it has seen


def test_more_positions_than_are_factorised_at_once() -> None:
    images = embeddings(6, positions=300, channels=3)
    mean, whitening = fitted(images, batch=6)
    covariance = torch.cov(images[:, 299].double().T) + 0.01 * torch.diag(images.double().flatten(0, 1).var(0))
    torch.testing.assert_close(
        whitening[299].double().inverse(), torch.linalg.cholesky(covariance), rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(mean, images.mean(0))
