"""Three graph encoders, one for each kind of view, and the decoder that is trained anew on their embeddings."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.ada_gad.design import AdaGad
from harmoniad.models.ada_gad.graph import PatchGraph, graph_of, without_links, without_nodes, without_region
from harmoniad.models.reconstruction.patches import PatchNetwork

VIEWS = (without_nodes, without_links, without_region)


class AdaGadNetwork(PatchNetwork):
    """First the encoders learn from views with fewer anomalies, then the decoder learns from the true graph."""

    def __init__(self, shapes: tuple[Shape, ...], design: AdaGad, pretrain_steps: int) -> None:
        super().__init__(shapes, design.grid)
        channels, width = self.channels[0], design.width
        self.design, self.pretrain_steps = design, pretrain_steps
        self.steps_done: Tensor
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.int64))  # kept with the weights, so it resumes
        self.encoders = nn.ModuleList(GraphEncoder(channels, width) for _ in VIEWS)
        self.first_decoders = nn.ModuleList(GraphConvolution(width, channels) for _ in VIEWS)
        self.attention = nn.Linear(width, 1)
        self.decoder = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, channels))

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """What the step's stage has to learn."""
        graph = self._graph(self.patches(layers))
        pretrains = bool(self.steps_done < self.pretrain_steps)
        self.steps_done += 1
        loss = self._pretraining_loss(graph) if pretrains else self._retraining_loss(graph)
        return loss, {"stage": torch.tensor(1.0 if pretrains else 2.0)}

    def score(self, patches: Tensor) -> Tensor:
        """Error of the features that the decoder gives each patch of (B, C, h, w): (B, h, w)."""
        return self._errors(self._graph(patches)).unflatten(1, patches.shape[2:])

    def _graph(self, patches: Tensor) -> PatchGraph:
        return graph_of(patches.flatten(2).transpose(1, 2), self.design.neighbours)

    def _pretraining_loss(self, graph: PatchGraph) -> Tensor:
        """Each encoder with a decoder of its own, from its own view: the error of all patches and hidden ones."""
        losses = []
        for view_of, encoder, decoder in zip(VIEWS, self.encoders, self.first_decoders, strict=True):
            view, hidden = view_of(graph, self.design.masked_share)
            error = (decoder(view, encoder(view)) - graph.nodes).square().mean(2)
            losses.append(error.mean() + (error * hidden).sum() / hidden.sum().clamp(min=1))
        return torch.stack(losses).mean()

    def _retraining_loss(self, graph: PatchGraph) -> Tensor:
        """The error on the true graph, and how evenly it is spread over the patches (the entropy of its shares)."""
        errors = self._errors(graph)
        shares = errors / errors.sum(1, keepdim=True).clamp(min=1e-12)
        entropy = -(shares * shares.clamp(min=1e-12).log()).sum(1).mean()
        return errors.mean() + self.design.sharpness * entropy

    def _errors(self, graph: PatchGraph) -> Tensor:
        with torch.no_grad():
            embeddings = torch.stack([encoder(graph) for encoder in self.encoders], dim=2)
        weights = self.attention(torch.tanh(embeddings)).softmax(2)
        errors: Tensor = (self.decoder((weights * embeddings).sum(2)) - graph.nodes).square().mean(2)
        return errors


class GraphConvolution(nn.Module):
    """A patch and the mean of those that it is linked with, each by its own weights (Hamilton et al., 2017)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.own, self.linked = nn.Linear(channels, width), nn.Linear(channels, width, bias=False)

    def forward(self, graph: PatchGraph, values: Tensor) -> Tensor:
        """(B, N, C) to (B, N, W)."""
        convolved: Tensor = self.own(values) + graph.gathered(self.linked(values))
        return convolved


class GraphEncoder(nn.Module):
    """Two graph convolutions."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first, self.second = GraphConvolution(channels, width), GraphConvolution(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, graph: PatchGraph) -> Tensor:
        """Embeddings (B, N, W) of the patches."""
        return self.second(graph, F.gelu(self.norm(self.first(graph, graph.nodes))))
