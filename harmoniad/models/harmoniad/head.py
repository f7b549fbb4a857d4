"""Head 2: says of each token whether it is defective, from how it deviates from normal; taught by made defects."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmoniad.models.harmoniad.design import Harmoniad
from harmoniad.models.harmoniad.deviations import Deviations
from harmoniad.models.harmoniad.frequency import FrequencySplit
from harmoniad.models.harmoniad.paths import Fusion
from harmoniad.models.training import Trainable, train
from harmoniad.params import Train

DEFECTIVE = 0.3  # a token counts as defective from this share of its area on
UNSURE = 0.02  # between this share and that one it teaches nothing
DEFECT_WEIGHT = 5.0  # defective tokens are few
OPTIMISATION = {"learning_rate": 1e-3, "final_learning_rate": 1e-5, "weight_decay": 1e-2, "clip": 1.0}


class DeviationHead(Trainable):
    """The deviation, or its two frequency bands, through FSAM and GSCM, fused into one logit a token.

    Only the size of a deviation enters, channel by channel, not its sign: so what was learned from one category's made
    defects holds for another's real ones.
    """

    def __init__(self, channels: int, design: Harmoniad) -> None:
        super().__init__()
        self.split = (
            FrequencySplit(channels, design.gate_radius, design.gate_softness, design.gate)
            if design.head_split
            else None
        )
        self.fusion = Fusion(design)
        # Mean size on good images of each channel of the low and the high band, and of the whole.
        self.low_scale = _constant(torch.ones(channels, 1, 1))
        self.high_scale = _constant(torch.ones(channels, 1, 1))
        self.distance_scale = _constant(torch.ones(()))
        self.drop = nn.Dropout(design.dropout)
        self.project_low = nn.Conv2d(channels + 1, design.width, 1)
        self.project_high = nn.Conv2d(channels + 1, design.width, 1)
        self.mix = nn.Conv2d(design.width, design.width, 1)
        self.logit = nn.Conv2d(design.width, 1, 1)

    @torch.no_grad()
    def measure(self, deviation: Tensor) -> None:
        """Learn the usual sizes from deviations (B, C, h, w) of good images."""
        low, high = self._bands(deviation)
        self.low_scale.copy_(_mean_size(low))
        self.high_scale.copy_(_mean_size(high))
        self.distance_scale.copy_(deviation.norm(dim=1).mean().clamp(min=1e-6))

    def forward(self, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) to logits (B, h, w), and the mean share of the high path (a scalar)."""
        low, high = self._bands(deviation)
        distance = deviation.norm(dim=1, keepdim=True) / self.distance_scale
        low_size = low.abs() / self.low_scale
        high_size = high.abs() / self.high_scale if self.split is not None else low_size  # the scales are the same
        low = F.gelu(self.project_low(torch.cat([self.drop(low_size), distance], dim=1)))
        high = F.gelu(self.project_high(torch.cat([self.drop(high_size), distance], dim=1)))
        fused, share = self.fusion(low, high)
        return self.logit(F.gelu(self.mix(fused)))[:, 0], share

    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Focal and dice loss of a batch: deviation (B, C, h, w) and the defective share of each token (B, h, w)."""
        deviation, shares = layers
        logits, high_share = self(deviation)
        return segmentation_loss(logits, shares), {"high_share": high_share.detach()}

    def _bands(self, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """Low and high band; without the split both paths see all of it."""
        if self.split is None:
            return deviation, deviation
        bands: tuple[Tensor, Tensor] = self.split(deviation)
        return bands


def fit_head(
    head: DeviationHead,
    deviations: Deviations,
    positions: Sequence[int],
    design: Harmoniad,
    optimisation: Train,
    *,
    seed: int,
    checkpoint: Path,
) -> list[dict[str, float]]:
    """Train head 2 on some of the deviations, and give a row a step; the checkpoint is deleted at the end."""
    head.measure(deviations.batch(range(0, deviations.good_count, 1 + deviations.good_count // 64))[0])
    deviations.feature_defects = design.feature_noise if design.feature_defects else None
    own = optimisation.model_copy(update={**OPTIMISATION, "steps": design.head_steps})
    chosen, device = deviations.subset(positions), head.logit.weight.device
    log = train(head, chosen, own, seed=seed, device=device, checkpoint=checkpoint)
    checkpoint.unlink(missing_ok=True)
    deviations.feature_defects = None
    return log


def segmentation_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017, gamma 2) plus dice loss (Milletari et al., 3DV 2016).

    Args:
        logits: (B, h, w).
        shares: Share of each token's area that is defective, (B, h, w).

    Returns:
        A scalar.
    """
    wanted = (shares > DEFECTIVE).float()
    counts = ((shares <= UNSURE) | (shares > DEFECTIVE)).float()
    probability = logits.sigmoid()
    missed = torch.where(wanted > 0, 1 - probability, probability)
    weight = counts * torch.where(wanted > 0, DEFECT_WEIGHT, 1.0)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    focal = 4 * (missed.square() * entropy * weight).mean()
    overlap = (probability * wanted).sum()
    dice = 1 - (2 * overlap + 1) / ((probability * counts).sum() + wanted.sum() + 1)
    return focal + dice


def _mean_size(band: Tensor) -> Tensor:
    return band.abs().mean((0, 2, 3)).clamp(min=1e-6).view(-1, 1, 1)


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)
