import pytest
import torch

from harmoniad.models.dasvdd.design import Dasvdd
from harmoniad.models.dasvdd.network import DasvddNetwork
from harmoniad.models.reconstruction.patches import as_tokens
from tests.models.features import PatternFeatures

SHAPES = PatternFeatures.shapes


def network(**design: object) -> DasvddNetwork:
    torch.manual_seed(0)
    return DasvddNetwork(SHAPES, Dasvdd.model_validate({"width": 16, "code": 4, "grid": 0, **design}))


def layers(count: int = 4) -> list[torch.Tensor]:
    return PatternFeatures(count).batch(range(count))


def test_both_errors_weigh_the_same_before_the_first_step() -> None:
    untrained = network(gamma=None)
    untrained.prepare([layers()])
    rebuilt, distance = untrained(as_tokens(untrained.patches(layers())))
    assert (untrained.gamma * distance.mean()).item() == pytest.approx(rebuilt.mean().item(), rel=1e-5)
    assert not untrained.gamma.requires_grad


def test_a_given_gamma_is_kept() -> None:
    untrained = network(gamma=0.5)
    untrained.prepare([layers()])
    assert untrained.gamma.item() == 0.5
    assert untrained.means[0].abs().max() > 0


def test_the_score_is_the_sum_of_both_errors() -> None:
    trained = network(gamma=0.5)
    torch.nn.init.ones_(trained.centre)
    tokens = as_tokens(trained.patches(layers(2)))
    codes = trained.encode(tokens)
    wanted = ((trained.decode(codes) - tokens) ** 2).mean(2) + 0.5 * ((codes - 1) ** 2).mean(2)
    torch.testing.assert_close(trained.anomaly_maps(layers(2), 8), wanted.view(2, 8, 8))


def test_one_part_of_the_tokens_moves_the_centre_and_the_other_trains_the_network() -> None:
    net = network(centre_share=0.25)
    torch.manual_seed(5)
    order = torch.randperm(2 * 64)
    tokens = as_tokens(net.patches(layers(2))).flatten(0, 1)
    torch.manual_seed(5)
    loss, values = net.loss(layers(2), 0.0)
    loss.backward()

    codes = net.encode(tokens).detach()
    mine, others = order[:32], order[32:]
    torch.testing.assert_close(net.centre.grad, 2 * (net.centre - codes[mine]).mean(0) / 4)

    found = net.encode[0].weight.grad.clone()
    net.zero_grad()
    codes = net.encode(tokens[others])
    rebuilt, distance = (net.decode(codes) - tokens[others]).square().mean(), codes.square().mean()
    (rebuilt + net.gamma * distance).backward()
    torch.testing.assert_close(found, net.encode[0].weight.grad)
    assert values["rebuilt"].item() == pytest.approx(rebuilt.item(), rel=1e-5)
    assert values["distance"].item() == pytest.approx(distance.item(), rel=1e-5)
