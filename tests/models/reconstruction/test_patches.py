import torch
from torch import Tensor

from harmoniad.features.cache import Shape
from harmoniad.models.reconstruction.patches import PatchNetwork, squared_error
from harmoniad.models.reconstruction.reversal import reversed_gradient
from tests.models.features import PatternFeatures


class LengthNetwork(PatchNetwork):
    def loss(self, layers: list[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        raise NotImplementedError

    def score(self, patches: Tensor) -> Tensor:
        return patches.square().mean(1)


def test_layers_of_different_widths_stand_side_by_side_each_channel_on_its_own_scale() -> None:
    features = PatternFeatures(6)
    network = LengthNetwork(features.shapes, grid=8)
    network.prepare([features.batch(range(6))])
    patches = network.patches(features.batch(range(6)))
    assert patches.shape == (6, 12 + 20, 8, 8)
    torch.testing.assert_close(patches[:, :12].mean((0, 2, 3)), torch.zeros(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(patches[:, :12].std((0, 2, 3), correction=0), torch.ones(12), atol=1e-4, rtol=0)


def test_layers_of_one_width_are_averaged() -> None:
    shapes: tuple[Shape, ...] = ((6, 4, 4), (6, 4, 4))
    network = LengthNetwork(shapes, grid=0)
    first, second = torch.randn(2, 6, 4, 4), torch.randn(2, 6, 4, 4)
    torch.testing.assert_close(network.patches([first, second]), (first + second) / 2)


def test_the_map_has_the_side_that_is_wanted() -> None:
    features = PatternFeatures(2)
    assert LengthNetwork(features.shapes, grid=4).anomaly_maps(features.batch([0, 1]), 8).shape == (2, 8, 8)


def test_squared_error_by_hand() -> None:
    patches, prediction = torch.tensor([[[[1.0]], [[2.0]]]]), torch.tensor([[[[1.0]], [[5.0]]]])
    assert squared_error(patches, prediction).tolist() == [[[4.5]]]


def test_the_reversal_changes_only_the_sign_of_the_gradient() -> None:
    value = torch.tensor([2.0, -3.0], requires_grad=True)
    result = reversed_gradient(value)
    assert torch.equal(result, value)
    result.square().sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [-4.0, 6.0]
