"""FSAM, GSCM and the network."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from harmoniad.models.harmoniad.design import Harmoniad
from harmoniad.models.harmoniad.fsam import FineStructureAttention
from harmoniad.models.harmoniad.gscm import GlobalContext, position_code
from harmoniad.models.harmoniad.network import HarmoniadNetwork
from harmoniad.models.harmoniad.paths import DualPath
from harmoniad.models.reconstruction.loss import hard_mined_cosine
from harmoniad.models.reconstruction.targets import group_layers

SHAPES = ((12, 8, 8), (20, 4, 4))
DESIGN = Harmoniad(width=16, heads=2, blocks=4)


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("module", [FineStructureAttention(16), GlobalContext(16, 2)])
def test_a_path_starts_as_the_identity_and_can_learn(module: torch.nn.Module) -> None:
    x = features(2, 16, 7, 9)
    torch.testing.assert_close(module(x), x)
    module(x).square().sum().backward()
    assert module.scale.grad is not None
    assert module.scale.grad.abs() > 0
    with torch.no_grad():
        module.scale.fill_(1.0)
    module.zero_grad()
    changed = module(x)
    assert changed.shape == x.shape
    assert (changed - x).abs().max() > 1e-3
    changed.square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_every_place_has_its_own_code() -> None:
    code = position_code(5, 7, 16, torch.device("cpu"))
    assert code.shape == (35, 16)
    assert torch.cdist(code, code).fill_diagonal_(1).min() > 1e-3


@pytest.mark.parametrize("gate", ["soft", "hard", "gaussian", "content"])
def test_the_paths_fuse_each_bands_share(gate: str) -> None:
    torch.manual_seed(0)
    path = DualPath(DESIGN.model_copy(update={"gate": gate}))
    x = features(2, 16, 8, 8)
    low, high = path.split(x)
    fused, high_share = path(x)
    weight, bias = path.fusion.share.weight[:, :, 0, 0], path.fusion.share.bias
    for row, column in ((0, 0), (3, 5)):  # FSAM and GSCM start as the identity
        bands = torch.cat([high[0, :, row, column], low[0, :, row, column]])
        alpha = (weight @ bands + bias).sigmoid()
        expected = alpha * bands[:16] + (1 - alpha) * bands[16:]
        torch.testing.assert_close(fused[0, :, row, column], expected)
    assert 0 < high_share < 1


@pytest.mark.parametrize(
    ("layers", "groups", "expected"),
    [(4, 2, [[0, 1], [2, 3]]), (3, 2, [[0, 1], [2]]), (1, 2, [[0]]), (2, 1, [[0, 1]]), (5, 3, [[0, 1], [2], [3, 4]])],
)
def test_layers_are_shared_out_in_order(layers: int, groups: int, expected: list[list[int]]) -> None:
    assert group_layers(((8, 4, 4),) * layers, groups) == expected


def test_targets_are_normalised_and_on_one_grid() -> None:
    network = HarmoniadNetwork(SHAPES, DESIGN)
    targets = network.targets([5 + 3 * features(2, *shape) for shape in SHAPES])
    assert [tuple(target.shape) for target in targets] == [(2, 12, 8, 8), (2, 20, 8, 8)]
    assert targets[0].mean(1).abs().max() < 1e-5
    np.testing.assert_allclose(targets[0].std(1, correction=0).numpy(), 1, atol=1e-3)


def test_the_channel_norm_knows_the_training_images() -> None:
    network = HarmoniadNetwork(SHAPES, DESIGN.model_copy(update={"norm": "channel"}))
    scale = torch.linspace(1, 9, 12).view(12, 1, 1)
    batches = [[scale * features(4, *SHAPES[0]) + scale, features(4, *SHAPES[1])] for _ in range(2)]
    network.measure_channels(batches)
    layer = batches[0][0]
    torch.testing.assert_close(network.means[0].data, layer.mean((0, 2, 3)))
    torch.testing.assert_close(network.deviations[0].data, layer.std((0, 2, 3), correction=0))
    target = network.targets(batches[0])[0]
    assert target.mean((0, 2, 3)).abs().max() < 1e-4
    assert all(not p.requires_grad for p in (*network.means, *network.deviations))


def test_layers_of_one_width_are_averaged_and_others_joined() -> None:
    same = HarmoniadNetwork(((12, 4, 4),) * 4, DESIGN)
    layers = [features(1, 12, 4, 4) * k for k in (1.0, -1.0, 1.0, 1.0)]
    targets = same.targets(layers)
    assert targets[0].abs().max() < 1e-5  # a layer and its negative
    torch.testing.assert_close(targets[1], F.layer_norm(layers[0].movedim(1, -1), (12,)).movedim(-1, 1))
    joined = HarmoniadNetwork(SHAPES, DESIGN.model_copy(update={"groups": 1}))
    assert joined.targets([features(1, *shape) for shape in SHAPES])[0].shape == (1, 32, 8, 8)


@pytest.mark.parametrize(
    "change",
    [
        *({}, {"split": False}, {"fsam": False}, {"gscm": False}, {"groups": 1}, {"blocks": 1}, {"grid": 6}),
        *({"gate": "hard"}, {"gate": "gaussian"}, {"gate": "content"}),
    ],
)
def test_predictions_have_the_shape_of_the_targets(change: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = HarmoniadNetwork(SHAPES, DESIGN.model_copy(update=change))
    targets = network.targets([features(3, *shape) for shape in SHAPES])
    predictions, high_share = network(targets)
    assert [prediction.shape for prediction in predictions] == [target.shape for target in targets]
    assert (high_share == 0) == (change.get("split") is False)
    hard_mined_cosine(targets, predictions, 0.5).backward()
    learned = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    missing = [name for name, parameter in learned if parameter.grad is None]
    assert missing == []


def test_switches_take_modules_away() -> None:
    def count(**change: object) -> int:
        return sum(p.numel() for p in HarmoniadNetwork(SHAPES, DESIGN.model_copy(update=change)).parameters())

    full = count()
    assert count(fsam=False) < full
    assert count(gscm=False) < full
    assert count(split=False) < count(fsam=False, gscm=False)
