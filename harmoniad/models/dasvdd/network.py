"""The autoencoder and its centre."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.dasvdd.design import Dasvdd
from harmoniad.models.reconstruction.patches import PatchNetwork, as_tokens


class DasvddNetwork(PatchNetwork):
    """The error of a token is |x - decoded|^2 + gamma |code - centre|^2 (DASVDD, equation 5), as means."""

    def __init__(self, shapes: tuple[Shape, ...], design: Dasvdd) -> None:
        super().__init__(shapes, design.grid)
        self.centre_share, self.given_gamma = design.centre_share, design.gamma
        channels = self.channels[0]
        self.encode = nn.Sequential(
            nn.Linear(channels, design.width), nn.GELU(), nn.Linear(design.width, design.code, bias=False)
        )
        self.decode = nn.Sequential(nn.Linear(design.code, design.width), nn.GELU(), nn.Linear(design.width, channels))
        self.centre = nn.Parameter(torch.zeros(design.code))
        self.gamma = nn.Parameter(torch.tensor(1.0 if design.gamma is None else design.gamma), requires_grad=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (..., C) to their mean squared error of reconstruction, and their codes' of the centre: (...)."""
        codes = self.encode(tokens)
        return (self.decode(codes) - tokens).square().mean(-1), (codes - self.centre).square().mean(-1)

    def prepare(self, batches: Iterable[Sequence[Tensor]]) -> None:
        """Measure the channels, and on the last batch what gamma makes both errors equal before the first step."""
        kept: list[Sequence[Tensor]] = []

        def keeping() -> Iterable[Sequence[Tensor]]:
            for layers in batches:
                kept[:] = [layers]
                yield layers

        self.measure_channels(keeping())
        if self.given_gamma is None:
            with torch.no_grad():
                rebuilt, distance = self(as_tokens(self.patches(kept[0])))
                self.gamma.copy_(rebuilt.mean() / distance.mean().clamp(min=1e-12))

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """One sum, in which the tokens of one part reach the autoencoder only, and those of the other the centre."""
        tokens = as_tokens(self.patches(layers)).flatten(0, 1)
        order = torch.randperm(len(tokens)).to(tokens.device)
        count = max(1, round(self.centre_share * len(tokens)))
        for_centre, for_network = tokens[order[:count]], tokens[order[count:]]
        codes = self.encode(for_network)
        rebuilt = F.mse_loss(self.decode(codes).float(), for_network)
        distance = F.mse_loss(codes.float(), self.centre.detach().expand_as(codes))
        with torch.no_grad():
            still = self.encode(for_centre).float()
        moved = F.mse_loss(self.centre.expand_as(still), still)
        return rebuilt + self.gamma * distance + moved, {"rebuilt": rebuilt.detach(), "distance": distance.detach()}

    def score(self, patches: Tensor) -> Tensor:
        """Error of reconstruction plus gamma times the distance to the centre: (B, grid, grid)."""
        rebuilt, distance = self(as_tokens(patches))
        return (rebuilt + self.gamma * distance).unflatten(1, (self.grid, self.grid))
