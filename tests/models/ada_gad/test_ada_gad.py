import torch

from harmoniad.models.ada_gad.design import AdaGad
from harmoniad.models.ada_gad.graph import anomaly_degree, graph_of, without_links, without_nodes, without_region
from harmoniad.models.ada_gad.network import AdaGadNetwork
from tests.models.features import PatternFeatures

FEATURES = PatternFeatures(4)


def two_kinds(strange: int = 20) -> torch.Tensor:
    """36 patches of two kinds, one of which is like none of them: (1, 36, 8)."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(2, 8, generator=generator)
    nodes = kinds[torch.arange(36) % 2] + 0.05 * torch.randn(36, 8, generator=generator)
    nodes[strange] = 3 * torch.randn(8, generator=generator)
    return nodes[None]


def test_patches_are_linked_with_their_like_and_never_with_themselves() -> None:
    links = graph_of(two_kinds(), 5).links[0]
    normal = [index for index in range(36) if index != 20]
    assert all((links[index] % 2 == index % 2).all() for index in normal)
    assert (links != torch.arange(36)[:, None]).all()
    assert graph_of(two_kinds(), 100).links.shape == (1, 36, 35)


def test_neighbours_are_averaged_by_hand() -> None:
    graph = graph_of(two_kinds(), 3)
    expected = torch.stack([graph.nodes[0, graph.links[0, index]].mean(0) for index in range(36)])
    torch.testing.assert_close(graph.gathered(graph.nodes)[0], expected)


def test_the_strange_patch_has_the_highest_degree() -> None:
    assert anomaly_degree(graph_of(two_kinds(), 5))[0].argmax() == 20


def test_views_have_fewer_anomalies_than_the_true_graph() -> None:
    graph = graph_of(two_kinds(), 5)
    torch.manual_seed(0)
    hit = 0
    for _ in range(20):
        view, hidden = without_nodes(graph, 0.3)
        assert hidden.sum() == int(0.3 * 36)
        assert (view.nodes[hidden] == 0).all()
        assert torch.equal(view.nodes[~hidden], graph.nodes[~hidden])
        hit += int(hidden[0, 20])
    assert hit > 8  # a random choice of the same size would hit it 6 times; it is a candidate in 12 of 20


def test_links_to_the_strange_patch_are_cut_first() -> None:
    graph = graph_of(two_kinds(), 5)
    torch.manual_seed(0)
    view, hidden = without_links(graph, 0.2)
    assert not hidden.any()
    cut = 1 - view.weights[0]
    assert 0 < cut.mean() <= 0.25
    assert cut[20].mean() > cut.mean()
    assert view.gathered(view.nodes).isfinite().all()


def test_a_region_is_a_square() -> None:
    torch.manual_seed(0)
    _, hidden = without_region(graph_of(two_kinds(), 5), 0.25)
    rows, columns = hidden.view(6, 6).any(1).sum(), hidden.view(6, 6).any(0).sum()
    assert hidden.sum() == rows * columns
    assert 2 <= rows <= 3


def test_first_the_encoders_learn_and_then_the_decoder_alone() -> None:
    torch.manual_seed(0)
    network = AdaGadNetwork(FEATURES.shapes, AdaGad(width=8, neighbours=3, grid=8), pretrain_steps=1)
    for stage, learns, rests in ((1.0, network.encoders, network.decoder), (2.0, network.decoder, network.encoders)):
        network.zero_grad(set_to_none=True)
        loss, values = network.loss(FEATURES.batch(range(4)), 0.0)
        loss.backward()
        assert values["stage"].item() == stage
        assert all(parameter.grad is not None for parameter in learns.parameters())
        assert all(parameter.grad is None for parameter in rests.parameters())
    assert network.steps_done.item() == 2
