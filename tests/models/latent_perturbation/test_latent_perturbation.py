import torch

from harmoniad.models.latent_perturbation.design import LatentPerturbation
from harmoniad.models.latent_perturbation.network import LatentPerturbationNetwork, unit_size
from tests.models.features import PatternFeatures

FEATURES = PatternFeatures(4)
LAYERS = FEATURES.batch(range(4))


def network(radius: float = 0.5) -> LatentPerturbationNetwork:
    torch.manual_seed(0)
    return LatentPerturbationNetwork(FEATURES.shapes, LatentPerturbation(width=16, latent=6, radius=radius, grid=8))


def perturbed(player: LatentPerturbationNetwork) -> float:
    return player.loss(LAYERS, 0.0)[1]["perturbed"].item()


def step(player: LatentPerturbationNetwork, moved: torch.nn.Module) -> None:
    player.zero_grad()
    player.loss(LAYERS, 0.0)[0].backward()
    with torch.no_grad():
        for parameter in moved.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.01 * parameter.grad / parameter.grad.norm().clamp(min=1e-12))


def test_a_step_of_the_distorter_makes_the_error_larger_and_one_of_the_decoder_smaller() -> None:
    for part, sign in (("distorter", 1), ("decoder", -1), ("encoder", -1)):
        player = network()
        before = perturbed(player)
        for _ in range(5):
            step(player, getattr(player, part))
        assert sign * (perturbed(player) - before) > 0, part


def test_the_perturbation_cannot_grow_with_the_distorter() -> None:
    features = torch.randn(2, 6, 4, 4)
    torch.testing.assert_close(unit_size(1000 * features), unit_size(features))
    torch.testing.assert_close(unit_size(features).square().mean(1), torch.ones(2, 4, 4))


def test_without_a_radius_it_is_a_plain_autoencoder() -> None:
    player = network(radius=0)
    _, values = player.loss(LAYERS, 0.0)
    assert torch.equal(values["perturbed"], values["plain"])
