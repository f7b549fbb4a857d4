"""The logical module: all levels are rebuilt from one vector of the image and from what is known of normal images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.features.cache import Shape
from harmoniad.models.npgmf.codebook import Codebook, principal_components
from harmoniad.models.npgmf.design import Npgmf
from harmoniad.models.reconstruction.loss import token_distance
from harmoniad.models.training import Trainable

START = 4  # side of the map that the decoder starts from
QUERIES = 4  # that the bottleneck's vector sends to the quantised map
POSITIONS = 8  # channels of the position code that the queries see


class Bottleneck(nn.Module):
    """Two strided convolutions on the deepest level, then one vector for the whole image."""

    def __init__(self, channels: int, width: int, length: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(START),
            nn.Flatten(),
            nn.LayerNorm(width * START**2),
        )
        self.vector = nn.Linear(width * START**2, length)

    def forward(self, level: Tensor) -> Tensor:
        """(B, D, h, w) to (B, length)."""
        vector: Tensor = self.vector(self.convolutions(level))
        return vector


class CodePrior(nn.Module):
    """A codebook of one level, and the way in which its quantised map reaches the decoder: never place by place.

    Place by place it would be a bridge over which an anomaly made of normal patches passes unharmed.
    """

    def __init__(self, channels: int, design: Npgmf) -> None:
        super().__init__()
        width = min(design.code_channels, channels)
        self.project = nn.Conv2d(channels, width, 1)
        self.codebook = Codebook(design.codes, width, design.code_decay)
        self.attended = design.code_use == "attended"
        if self.attended:
            self.queries = nn.Linear(design.bottleneck, QUERIES * (width + POSITIONS))
            self.key = nn.Linear(width + POSITIONS, width + POSITIONS)
        self.out = nn.Linear(width * (QUERIES if self.attended else 1), design.width)

    def tokens(self, level: Tensor) -> Tensor:
        """What is quantised: each place with its 3 x 3 neighbours, (B, D, h, w) to (B, h * w, C)."""
        around = F.avg_pool2d(level, 3, stride=1, padding=1, count_include_pad=False)
        projected: Tensor = self.project(around)
        return projected.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def start(self, level: Tensor) -> None:
        """Let the projection start at the principal components of a level (B, D, h, w), and the codes on its tokens."""
        around = F.avg_pool2d(level, 3, stride=1, padding=1, count_include_pad=False)
        width = self.project.out_channels
        mean, components, deviations = principal_components(around.movedim(1, -1).flatten(0, 2), width)
        components = components / deviations.square().mean().clamp(min=1e-12).sqrt()  # one scale, to keep distances
        self.project.weight.copy_(components.T[..., None, None])
        bias = -mean @ components
        assert self.project.bias is not None
        self.project.bias.copy_(bias)
        self.codebook.start(self.tokens(level).flatten(0, 1))

    def forward(self, level: Tensor, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From (B, D, h, w) and the vector (B, V): what the decoder gets (B, W), commitment, perplexity."""
        quantised, commitment, perplexity = self.codebook(self.tokens(level))
        if not self.attended:
            return self.out(quantised.mean(1)), commitment, perplexity
        places = position_code(level.shape[-2], level.shape[-1], level.device).expand(len(level), -1, -1)
        keys = self.key(torch.cat([quantised, places], dim=2))
        queries = self.queries(vector).unflatten(1, (QUERIES, -1))
        found = F.scaled_dot_product_attention(queries, keys, quantised)
        return self.out(found.flatten(1)), commitment, perplexity


class FusionBlock(nn.Module):
    """One level of the decoder: state, priors and places are joined, and the level is predicted."""

    def __init__(self, shape: Shape, width: int, priors: int) -> None:
        super().__init__()
        self.size = shape[1:]
        self.places = nn.Parameter(0.02 * torch.randn(1, width, *self.size))
        self.join = nn.Conv2d(width * (1 + priors), width, 1)
        self.refine = nn.Sequential(nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU())
        self.head = nn.Conv2d(width, shape[0], 1)

    def forward(self, state: Tensor, priors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """From (B, W, h, w) and priors (B, W) each: the new state and the predicted level."""
        state = F.interpolate(state, size=self.size, mode="bilinear", align_corners=False)
        spread = [prior[:, :, None, None].expand(-1, -1, *self.size) for prior in priors]
        joined = self.join(torch.cat([state + self.places, *spread], dim=1))
        state = joined + self.refine(joined)
        return state, self.head(state)


class LogicalNetwork(Trainable):
    """Rebuilds all levels, from deep to shallow, from one vector and the priors (reverse distillation).

    Args:
        shapes: Of the levels.
        design: The knobs.
        text: (categories, E), what the text tower makes of the categories' names; None where there is no such prior.
        categories: How many there are.
    """

    def __init__(self, shapes: Sequence[Shape], design: Npgmf, text: Tensor | None, categories: int) -> None:
        super().__init__()
        self.commitment_weight = design.commitment
        self.shapes = coarser(shapes, design.grid)
        deepest = self.shapes[-1]
        self.bottleneck = Bottleneck(deepest[0], design.width, design.bottleneck)
        self.start = nn.Linear(design.bottleneck, design.width * START**2)
        self.has_prior = design.prior != "none"
        if self.has_prior:
            learned = torch.randn(categories, design.width)
            self.prior = nn.Parameter(learned if text is None else text.clone(), requires_grad=text is None)
            self.read = nn.ModuleList(nn.Linear(self.prior.shape[1], design.width) for _ in shapes)
        coded = self.shapes[-design.code_levels :] if design.codebooks else []
        self.codes = nn.ModuleList(CodePrior(shape[0], design) for shape in coded)
        priors = int(self.has_prior) + len(self.codes)
        self.blocks = nn.ModuleList(FusionBlock(shape, design.width, priors) for shape in self.shapes)

    def prepare(self, levels: Sequence[Tensor]) -> None:
        """Start the codes on the tokens of some images, (B, D, h, w) for each level."""
        for prior, level in zip(self.codes, self._coded(self._pooled(levels)), strict=True):
            assert isinstance(prior, CodePrior)
            prior.start(level)

    def forward(self, levels: Sequence[Tensor], category: Tensor) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Predict the levels.

        Args:
            levels: (B, D, h, w) for each, of `self.shapes`.
            category: (B,), the number of each image's category.

        Returns:
            Predictions of the same shapes, the commitment loss, and the perplexity of each codebook.
        """
        vector = self.bottleneck(levels[-1])
        found = [prior(level, vector) for prior, level in zip(self.codes, self._coded(levels), strict=True)]
        state = self.start(vector).unflatten(1, (-1, START, START))
        predictions: list[Tensor] = []
        for index in reversed(range(len(levels))):
            priors = [self.read[index](self.prior[category])] if self.has_prior else []
            state, prediction = self.blocks[index](state, [*priors, *(prior for prior, _, _ in found)])
            predictions.insert(0, prediction)
        commitment = torch.stack([loss for _, loss, _ in found]).mean() if found else state.new_zeros(())
        return predictions, commitment, [perplexity for _, _, perplexity in found]

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Cosine distance of the levels to their predictions, plus the weighted commitment; see `levels.Seen`."""
        *levels, category = layers
        levels = self._pooled(levels)
        predictions, commitment, perplexities = self(levels, category)
        distances = [token_distance(level, p).mean() for level, p in zip(levels, predictions, strict=True)]
        logged = {f"perplexity_{index}": value for index, value in enumerate(perplexities)}
        return torch.stack(distances).mean() + self.commitment_weight * commitment, logged

    @torch.no_grad()
    def anomaly_maps(self, levels: Sequence[Tensor], category: Tensor, side: int) -> Tensor:
        """1 - cosine between the levels and their predictions, the mean over the levels: (B, side, side)."""
        levels = self._pooled(levels)
        predictions, _, _ = self(levels, category)
        return mean_distance(levels, predictions, side)

    def _pooled(self, levels: Sequence[Tensor]) -> list[Tensor]:
        return [F.adaptive_avg_pool2d(level, shape[1:]) for level, shape in zip(levels, self.shapes, strict=True)]

    def _coded(self, levels: Sequence[Tensor]) -> Sequence[Tensor]:
        """The levels that have a codebook, the deepest ones."""
        return levels[len(levels) - len(self.codes) :]


def coarser(shapes: Sequence[Shape], grid: int) -> list[Shape]:
    """Shapes with sides of at most `grid`; 0 changes nothing."""
    return [(depth, min(height, grid or height), min(width, grid or width)) for depth, height, width in shapes]


def mean_distance(levels: Sequence[Tensor], predictions: Sequence[Tensor], side: int) -> Tensor:
    """1 - cosine of (B, D, h, w) twice for each level, the mean over the levels: (B, side, side)."""
    size = (side, side)
    maps = [token_distance(level, p)[:, None] for level, p in zip(levels, predictions, strict=True)]
    return torch.stack([F.interpolate(m, size=size, mode="bilinear", align_corners=False)[:, 0] for m in maps]).mean(0)


def position_code(height: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of row and column, one and two waves over the image: (1, height * width, 8)."""
    axes = []
    for count in (height, width):
        turn = torch.linspace(0, torch.pi, count, device=device)
        axes.append(torch.stack([wave(turn * k) for k in (1, 2) for wave in (torch.sin, torch.cos)], dim=-1))
    rows, columns = axes[0][:, None].expand(-1, width, -1), axes[1][None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)[None]
