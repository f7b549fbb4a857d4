import torch

from harmoniad.models.bi_flow.design import BiFlow
from harmoniad.models.bi_flow.network import BiFlowNetwork, Coupling, Flow
from tests.models.features import PatternFeatures


def stirred(flow: torch.nn.Module) -> None:
    """Away from the identity, as which a flow starts."""
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def test_the_flow_goes_both_ways() -> None:
    for channels in (6, 7):
        torch.manual_seed(0)
        flow = Flow(channels, 16, couplings=3)
        stirred(flow)
        tokens = torch.randn(20, channels)
        codes, _ = flow(tokens)
        assert (codes - tokens).abs().max() > 0.1
        torch.testing.assert_close(flow.inverse(codes), tokens, atol=1e-4, rtol=1e-4)


def test_the_change_of_volume_is_that_of_the_jacobian() -> None:
    torch.manual_seed(0)
    flow = Flow(5, 8, couplings=2)
    stirred(flow)
    token = torch.randn(5)
    jacobian = torch.autograd.functional.jacobian(lambda t: flow(t[None])[0][0], token)
    torch.testing.assert_close(flow(token[None])[1][0], torch.linalg.slogdet(jacobian).logabsdet, atol=1e-4, rtol=1e-4)


def test_a_coupling_starts_as_a_shuffle() -> None:
    torch.manual_seed(0)
    coupling = Coupling(6, 8)
    tokens = torch.randn(4, 6)
    codes, change = coupling(tokens)
    assert torch.equal(codes, tokens[:, coupling.order])
    assert change.tolist() == [0] * 4


def test_the_flow_learns_nothing_from_the_classifier() -> None:
    torch.manual_seed(0)
    features = PatternFeatures(4)
    network = BiFlowNetwork(features.shapes, BiFlow(width=16, couplings=2, grid=8))
    layers = features.batch(range(4))

    def gradients() -> list[torch.Tensor]:
        network.zero_grad()
        torch.manual_seed(1)
        loss, values = network.loss(layers, 0.0)
        torch.testing.assert_close(loss.detach(), values["surprise"] + values["mistaken"])
        loss.backward()
        return [parameter.grad.clone() for parameter in network.flow.parameters() if parameter.grad is not None]

    before = gradients()
    with torch.no_grad():
        for parameter in network.classifier.parameters():
            parameter.mul_(3)
    after = gradients()
    assert before
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_pseudo_anomalies_lie_further_out_than_normal_codes() -> None:
    features = PatternFeatures(4)
    network = BiFlowNetwork(features.shapes, BiFlow(width=16, noise=2.0))
    torch.manual_seed(0)
    codes = torch.randn(500, 32)
    assert network.disturb(codes).square().mean() > 1.8 * codes.square().mean()
