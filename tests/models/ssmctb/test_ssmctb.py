import pytest
import torch
from torch.nn import functional as F

from harmoniad.models.ssmctb.design import Ssmctb
from harmoniad.models.ssmctb.network import ChannelGate, MaskedConvolution, SsmctbNetwork
from tests.models.features import PatternFeatures

SHAPES = PatternFeatures.shapes


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("distance", [1, 2])
def test_it_is_a_convolution_with_four_weights(distance: int) -> None:
    torch.manual_seed(0)
    block, features = MaskedConvolution(3, 5, distance), random(2, 3, 7, 7)
    kernel = torch.zeros(5, 3, 2 * distance + 1, 2 * distance + 1)
    parts = block.mix.weight[:, :, 0, 0].unflatten(1, (4, 3))
    for part, (row, column) in enumerate([(0, 0), (0, -1), (-1, 0), (-1, -1)]):
        kernel[:, :, row, column] = parts[:, part]
    torch.testing.assert_close(block(features), F.conv2d(features, kernel, block.mix.bias, padding=distance))


@pytest.mark.parametrize("distance", [1, 2])
def test_a_token_is_predicted_without_itself_and_its_sides(distance: int) -> None:
    torch.manual_seed(0)
    network = SsmctbNetwork(SHAPES, Ssmctb(width=16, distance=distance, channel_blocks=0, grid=0))
    features = random(1, 32, 8, 8)
    changed = features.clone()
    changed[:, :, 4, 4] += 5
    moved = (network(changed) - network(features)).abs().amax((0, 1)) > 0
    corners = {(4 + row * distance, 4 + column * distance) for row in (-1, 1) for column in (-1, 1)}
    assert {tuple(place) for place in moved.nonzero().tolist()} == corners


def test_the_gate_weighs_each_channel_by_all() -> None:
    torch.manual_seed(0)
    gate = ChannelGate(Ssmctb(width=16, channel_width=8, heads=2, pooled=2))
    features = random(2, 16, 6, 6)
    weights = gate(features)
    assert weights.shape == (2, 16)
    assert weights.min() > 0
    assert weights.max() < 1
    changed = features.clone()
    changed[0, 3] += random(6, 6)
    moved = (gate(changed) - weights).abs()
    assert moved[0].min() > 0  # all channels look at the one that changed
    assert moved[1].max() == 0


def test_the_map_is_the_huber_distance() -> None:
    torch.manual_seed(0)
    network = SsmctbNetwork(SHAPES, Ssmctb(width=16, channel_width=8, grid=0)).eval()
    layers = [3 * random(2, *shape) for shape in SHAPES]
    patches = network.patches(layers)
    off = (network(patches) - patches).abs()
    huber = torch.where(off < 1, 0.5 * off**2, off - 0.5)
    torch.testing.assert_close(network.anomaly_maps(layers, 8), huber.mean(1))
    assert network.loss(layers, 0.0)[0].item() == pytest.approx(huber.mean().item(), rel=1e-5)
