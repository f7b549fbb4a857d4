"""The graph of an image's patches, and views of it with fewer anomalies."""

from dataclasses import dataclass, replace
from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class PatchGraph:
    """The patches of some images, each linked with others of its image.

    Attributes:
        nodes: Features (B, N, C).
        links: Which patches each is linked with: (B, N, k).
        weights: Of the links: (B, N, k), 0 for one that is cut.
    """

    nodes: Tensor
    links: Tensor
    weights: Tensor

    def gathered(self, values: Tensor) -> Tensor:
        """Mean of values (B, N, W) over the patches that each patch is linked with, same shape; 0 if with none."""
        images = torch.arange(len(values), device=values.device)[:, None, None]
        total = (values[images, self.links] * self.weights.unsqueeze(-1)).sum(2)
        return total / self.weights.sum(2, keepdim=True).clamp(min=1)


def graph_of(nodes: Tensor, neighbours: int) -> PatchGraph:
    """Link each patch of (B, N, C) with those of its image that are most like it."""
    with torch.no_grad():
        unit = F.normalize(nodes, dim=2)
        likeness = unit @ unit.transpose(1, 2)
        likeness.diagonal(dim1=1, dim2=2).fill_(-2)
        links = likeness.topk(min(neighbours, nodes.shape[1] - 1), dim=2).indices
    return PatchGraph(nodes, links, torch.ones_like(links, dtype=nodes.dtype))


def anomaly_degree(graph: PatchGraph) -> Tensor:
    """How much each patch adds to the high frequencies of the graph: (B, N).

    The Rayleigh quotient of the graph's Laplacian, node by node.
    """
    return (graph.nodes - graph.gathered(graph.nodes)).square().sum(2) / graph.nodes.square().sum(2).clamp(min=1e-6)


def without_nodes(graph: PatchGraph, share: float) -> tuple[PatchGraph, Tensor]:
    """Hide the features of those of some patches, drawn at random, that stick out most.

    Returns:
        The view, and which patches are hidden: (B, N) of bool.
    """
    count = graph.nodes.shape[1]
    degree = anomaly_degree(graph)
    candidate = torch.rand_like(degree) < min(1.0, 2 * share)
    worst = degree.where(candidate, degree.new_tensor(-1.0)).topk(max(1, int(share * count)), dim=1).indices
    return _hide(graph, torch.zeros_like(candidate).scatter(1, worst, True))


def without_links(graph: PatchGraph, share: float) -> tuple[PatchGraph, Tensor]:
    """Cut those of some links, drawn at random, that join the most different patches; nothing is hidden."""
    images = torch.arange(len(graph.nodes), device=graph.nodes.device)[:, None, None]
    difference = (graph.nodes.unsqueeze(2) - graph.nodes[images, graph.links]).square().sum(3)
    difference = difference * (torch.rand_like(difference) < min(1.0, 2 * share))
    limit = torch.quantile(difference.flatten(1), 1 - share, dim=1)[:, None, None]
    cut = replace(graph, weights=(difference <= limit).to(graph.weights.dtype))
    return cut, torch.zeros(graph.nodes.shape[:2], dtype=torch.bool, device=graph.nodes.device)


def without_region(graph: PatchGraph, share: float) -> tuple[PatchGraph, Tensor]:
    """Hide the square of patches around the one of some, drawn at random, that sticks out most.

    Returns:
        The view, and which patches are hidden: (B, N) of bool.
    """
    batch, count, _ = graph.nodes.shape
    side = isqrt(count)
    degree = anomaly_degree(graph)
    drawn = torch.rand_like(degree) < 0.1
    centre = degree.where(drawn, degree.new_tensor(-1.0)).argmax(1)
    place = torch.arange(side, device=graph.nodes.device)
    reach = max(0, round((share**0.5 * side - 1) / 2))
    rows = (place[None] - (centre // side)[:, None]).abs() <= reach
    columns = (place[None] - (centre % side)[:, None]).abs() <= reach
    return _hide(graph, (rows[:, :, None] & columns[:, None, :]).view(batch, count))


def _hide(graph: PatchGraph, hidden: Tensor) -> tuple[PatchGraph, Tensor]:
    return replace(graph, nodes=graph.nodes.masked_fill(hidden.unsqueeze(2), 0)), hidden
