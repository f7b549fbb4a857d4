import math

import pytest
import torch

from harmoniad.models.harmoniad.design import Harmoniad
from harmoniad.models.harmoniad.head import DeviationHead, segmentation_loss

CHANNELS = 6
DESIGN = Harmoniad(width=16, heads=2, head_split=True)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head_of(**change: object) -> DeviationHead:
    torch.manual_seed(0)
    return DeviationHead(CHANNELS, Harmoniad.model_validate({**DESIGN.model_dump(), **change})).eval()


def slow_loss(logits: torch.Tensor, shares: torch.Tensor) -> float:
    focal = overlap = predicted = wanted = 0.0
    for logit, share in zip(logits.flatten().tolist(), shares.flatten().tolist(), strict=True):
        probability = 1 / (1 + math.exp(-logit))
        if share > 0.3:
            focal += 5 * (1 - probability) ** 2 * -math.log(probability)
            overlap, predicted, wanted = overlap + probability, predicted + probability, wanted + 1
        elif share <= 0.02:
            focal += probability**2 * -math.log(1 - probability)
            predicted += probability
    return 4 * focal / logits.numel() + 1 - (2 * overlap + 1) / (predicted + wanted + 1)


def test_the_loss_is_focal_plus_dice() -> None:
    logits = 2 * random(3, 4, 5)
    shares = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1)) * 0.6
    shares[0] = 0
    shares[1, 0, :4] = torch.tensor([0.019, 0.021, 0.299, 0.301])
    assert segmentation_loss(logits, shares).item() == pytest.approx(slow_loss(logits, shares), rel=1e-5)
    certain = torch.where(shares > 0.3, 20.0, -20.0)
    assert segmentation_loss(certain, shares) < 0.01
    assert segmentation_loss(-certain, shares) > 10


def test_without_a_defect_the_loss_wants_low_logits() -> None:
    nothing = torch.zeros(2, 4, 4)
    assert segmentation_loss(nothing - 9, nothing) < 0.01 < segmentation_loss(nothing, nothing)


def test_a_token_that_is_a_little_defective_teaches_nothing() -> None:
    logits = random(2, 4, 4).requires_grad_()
    shares = torch.zeros(2, 4, 4)
    shares[0, :2] = 1
    shares[0, 2] = 0.1
    segmentation_loss(logits, shares).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad == 0, shares == 0.1)
    assert (logits.grad[0, :2] < 0).all()
    assert (logits.grad[1] > 0).all()


@pytest.mark.parametrize("split", [True, False])
def test_a_deviation_counts_by_its_size_not_its_sign(split: bool) -> None:
    head, deviation = head_of(head_split=split), random(2, CHANNELS, 8, 8)
    logits, _ = head(deviation)
    assert logits.shape == (2, 8, 8)
    assert torch.equal(head(-deviation)[0], logits)
    mixed = deviation * random(2, CHANNELS, 8, 8, seed=1).sign()
    assert torch.equal(head(mixed)[0], logits) != split  # in bands, neighbours of other signs are something else
    assert not torch.equal(head(2 * deviation)[0], logits)


@pytest.mark.parametrize("gate", ["soft", "hard", "gaussian", "content"])
def test_sizes_are_relative_to_those_of_good_images(gate: str) -> None:
    first, second = head_of(gate=gate), head_of(gate=gate)
    usual = random(8, CHANNELS, 8, 8) * torch.tensor([1.0, 2, 3, 4, 5, 6]).view(-1, 1, 1)
    first.measure(usual)
    second.measure(8 * usual)
    torch.testing.assert_close(first(usual[:2])[0], second(8 * usual[:2])[0])
    low, high = first.split(usual)
    torch.testing.assert_close(first.low_scale.flatten(), low.abs().mean((0, 2, 3)))
    torch.testing.assert_close(first.high_scale.flatten(), high.abs().mean((0, 2, 3)))
    torch.testing.assert_close(first.distance_scale.data, usual.square().sum(1).sqrt().mean())


def test_what_is_measured_is_saved_but_not_learned() -> None:
    head = head_of()
    scales = {"low_scale", "high_scale", "distance_scale"}
    assert scales <= set(head.state_dict())
    assert not any(parameter.requires_grad for name, parameter in head.named_parameters() if name in scales)
    head.measure(torch.zeros(2, CHANNELS, 8, 8))
    assert head(random(1, CHANNELS, 8, 8))[0].isfinite().all()  # nothing is divided by 0


def batch(seed: int) -> list[torch.Tensor]:
    """A block in each image deviates three times as much."""
    deviation, shares = random(4, CHANNELS, 8, 8, seed=seed), torch.zeros(4, 8, 8)
    for image in range(4):
        row, column = (seed + image) % 6, (3 * seed + image) % 6
        shares[image, row : row + 3, column : column + 3] = 1
    return [deviation * (1 + 2 * shares[:, None]), shares]


@pytest.mark.parametrize("change", [{}, {"split": False}, {"gate": "content"}, {"fsam": False, "gscm": False}])
def test_it_learns_where_a_deviation_is_large(change: dict[str, object]) -> None:
    head = head_of(dropout=0.0, **change)
    head.measure(random(8, CHANNELS, 8, 8))
    optimizer = torch.optim.Adam([p for p in head.parameters() if p.requires_grad], 5e-3)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        loss, values = head.loss(batch(step), 0.0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert 0 < values["high_share"] < 1
    assert losses[-1] < 0.5 * losses[0]
    deviation, shares = batch(1000)
    with torch.no_grad():
        logits = head(deviation)[0]
    assert logits[shares > 0].mean() > logits[shares == 0].mean() + 2


@pytest.mark.parametrize("gate", ["soft", "content"])
def test_the_gradient_reaches_every_part_after_the_first_step(gate: str) -> None:
    head = head_of(gate=gate).train()
    learned = [(name, parameter) for name, parameter in head.named_parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam([parameter for _, parameter in learned], 1e-3)
    for step in range(2):  # FSAM and GSCM start as the identity
        optimizer.zero_grad()
        head.loss(batch(step), 0.0)[0].backward()
        optimizer.step()
    still = [name for name, parameter in learned if parameter.grad is None or parameter.grad.abs().max() == 0]
    assert still == []
    names = {name.rpartition(".")[0] for name, _ in learned}
    assert {"split", "fusion.high_path.mix.0", "fusion.low_path.blocks.0.attention.qkv", "fusion.share"} <= names


def test_switches_take_modules_away() -> None:
    def names(**change: object) -> set[str]:
        return {name for name, parameter in head_of(**change).named_parameters() if parameter.requires_grad}

    full = names()
    assert {name for name in full if "high_path" in name} == full - names(fsam=False) != set()
    assert {name for name in full if "low_path" in name} == full - names(gscm=False) != set()
    assert full - names(head_split=False) == {"split.radius_logit", "split.softness_log"} == full - names(gate="hard")
    assert names(gate="content") - full == {"split.shift.weight", "split.shift.bias"}
