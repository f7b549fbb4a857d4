import torch

from harmoniad.models.denoising_autoencoder.design import DenoisingAutoencoder
from harmoniad.models.denoising_autoencoder.network import DenoisingAutoencoderNetwork, blobs, corrupt
from tests.models.features import PatternFeatures


def test_blobs_cover_the_share_that_is_asked_for_on_average() -> None:
    torch.manual_seed(0)
    for share in (0.1, 0.25, 0.4):
        covered = blobs(400, 16, 16, share).mean().item()
        assert abs(covered - share) < 0.03, (share, covered)


def test_blobs_are_connected_rather_than_scattered() -> None:
    torch.manual_seed(0)
    shapes = blobs(50, 16, 16, 0.25)
    same_as_right = (shapes[:, :, 1:] == shapes[:, :, :-1]).float().mean().item()
    covered = shapes.mean().item()
    assert same_as_right > (covered**2 + (1 - covered) ** 2) + 0.15  # of independent cells


def test_what_is_not_covered_stays_as_it_is() -> None:
    torch.manual_seed(1)
    patches = torch.randn(6, 5, 8, 8)
    corrupted, opacity = corrupt(patches, 0.3)
    touched = (opacity > 0).unsqueeze(1).expand_as(patches)
    assert 0 < touched.float().mean() < 1
    assert torch.equal(corrupted[~touched], patches[~touched])
    assert (corrupted[touched] != patches[touched]).float().mean() > 0.99
    assert opacity.max() <= 1


def test_an_only_image_is_corrupted_too() -> None:
    torch.manual_seed(2)
    patches = torch.randn(1, 5, 8, 8)
    corrupted, opacity = corrupt(patches, 0.4)
    assert opacity.sum() > 0
    assert not torch.equal(corrupted, patches)


def test_the_loss_weighs_the_repaired_and_the_kept() -> None:
    features = PatternFeatures(4)
    network = DenoisingAutoencoderNetwork(
        features.shapes, DenoisingAutoencoder(width=8, blocks=1, corrupted_weight=0.8)
    )
    torch.manual_seed(0)
    loss, values = network.loss(features.batch(range(4)), 0.0)
    torch.testing.assert_close(loss.detach(), 0.8 * values["repaired"] + 0.2 * values["kept"])
