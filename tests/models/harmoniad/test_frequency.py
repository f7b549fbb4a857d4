import math

import numpy as np
import pytest
import torch

from harmoniad.models.harmoniad.frequency import FrequencySplit, Gate, radial_frequency

KINDS: list[Gate] = ["soft", "hard", "gaussian", "content"]


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(2, 3, 12, 9, generator=torch.Generator().manual_seed(0))


def shifted(split: FrequencySplit) -> FrequencySplit:
    """The same with a shift of the radius that is not zero any more."""
    with torch.no_grad():
        split.shift.weight.copy_(torch.tensor([[3.0, -2.0, 0.5]]))
    return split


@pytest.mark.parametrize("kind", KINDS)
def test_low_and_high_add_up_to_the_features(features: torch.Tensor, kind: Gate) -> None:
    low, high = FrequencySplit(3, kind=kind)(features)
    assert low.shape == high.shape == features.shape
    torch.testing.assert_close(low + high, features)
    assert low.abs().max() > 0.1
    assert high.abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_high_band_has_no_mean(features: torch.Tensor, kind: Gate) -> None:
    _, high = FrequencySplit(3, radius=0.05, softness=0.5, kind=kind)(features + 5)
    assert high.mean((2, 3)).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_is_all_low(kind: Gate) -> None:
    constant = torch.full((1, 1, 8, 8), 3.0)
    low, high = FrequencySplit(1, kind=kind)(constant)
    torch.testing.assert_close(low, constant)
    assert high.abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_chessboard_is_all_high(kind: Gate) -> None:
    chessboard = ((torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1).view(1, 1, 8, 8)
    low, high = FrequencySplit(1, radius=0.15, kind=kind)(chessboard)
    torch.testing.assert_close(high, chessboard, atol=1e-5, rtol=0)
    assert low.abs().max() < 1e-5


def test_the_gates_are_their_formulas(features: torch.Tensor) -> None:
    radius = math.hypot(2 / 12, 1 / 9) / math.sqrt(0.5)  # of row 2, column 1: 0.2833
    expected = {
        "soft": 1 / (1 + math.exp(-(0.3 - radius) / 0.1)),
        "content": 1 / (1 + math.exp(-(0.3 - radius) / 0.1)),
        "hard": 1.0,
        "gaussian": math.exp(-(radius**2) / (2 * 0.3**2)),
    }
    for kind in KINDS:
        split = FrequencySplit(3, radius=0.3, softness=0.1, kind=kind)
        gate = split.gate(features)
        assert gate.shape == (2 if kind == "content" else 1, 1, 12, 5)
        assert (gate[:, 0, 0, 0] == 1).all()
        assert gate[0, 0, 2, 1].item() == pytest.approx(expected[kind], abs=1e-6)
        assert split.radius.item() == pytest.approx(0.3, abs=1e-6)


def test_a_hard_gate_is_all_or_nothing_and_fixed(features: torch.Tensor) -> None:
    split = FrequencySplit(3, radius=0.3, kind="hard")
    gate = split.gate(features)
    assert torch.equal(gate[0, 0], (radial_frequency(12, 9, torch.device("cpu")) < 0.3).float())
    assert 0 < gate.mean() < 1


@pytest.mark.parametrize("kind", ["hard", "gaussian"])
def test_a_fixed_gate_has_nothing_to_learn(features: torch.Tensor, kind: Gate) -> None:
    split = FrequencySplit(3, kind=kind)
    assert not any(parameter.requires_grad for parameter in split.parameters())
    assert not split(features)[0].requires_grad


def test_the_radius_reaches_one_at_the_corner() -> None:
    radius = radial_frequency(8, 8, torch.device("cpu"))
    assert radius[0, 0] == 0
    assert radius[4, 4].item() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["soft", "gaussian"])
def test_it_agrees_with_a_full_complex_transform(features: torch.Tensor, kind: Gate) -> None:
    low, _ = FrequencySplit(3, radius=0.4, softness=0.1, kind=kind)(features)
    vertical, horizontal = np.fft.fftfreq(12)[:, None], np.fft.fftfreq(9)[None]
    radius = np.sqrt(vertical**2 + horizontal**2) / 0.5**0.5
    gate = 1 / (1 + np.exp(-(0.4 - radius) / 0.1)) if kind == "soft" else np.exp(-(radius**2) / (2 * 0.4**2))
    gate[0, 0] = 1
    expected = np.fft.ifft2(np.fft.fft2(features.numpy()) * gate)
    assert np.abs(expected.imag).max() < 1e-6
    np.testing.assert_allclose(low.detach().numpy(), expected.real, atol=1e-5)


def test_the_content_gate_starts_as_the_soft_one(features: torch.Tensor) -> None:
    soft, content = (FrequencySplit(3, radius=0.3, kind=kind)(features)[0] for kind in ("soft", "content"))
    torch.testing.assert_close(content, soft)


def test_the_content_gate_follows_the_strength_of_the_channels(features: torch.Tensor) -> None:
    split = shifted(FrequencySplit(3, radius=0.3, softness=0.1, kind="content"))
    gate = split.gate(features)
    assert (gate[0] - gate[1]).abs().max() > 1e-3
    strength = features[1].abs().mean((1, 2))
    strength = strength / strength.mean()
    shift = (3 * strength[0] - 2 * strength[1] + 0.5 * strength[2]).item()
    rho = 1 / (1 + math.exp(-(math.log(0.3 / 0.7) + shift)))
    radius = math.hypot(2 / 12, 1 / 9) / math.sqrt(0.5)
    assert gate[1, 0, 2, 1].item() == pytest.approx(1 / (1 + math.exp(-(rho - radius) / 0.1)), abs=1e-5)
    torch.testing.assert_close(split.gate(10 * features), gate)  # of the channels to each other, not of the image
    low, high = split(features)
    torch.testing.assert_close(low + high, features)


@pytest.mark.parametrize("kind", ["soft", "content"])
def test_the_gradient_reaches_the_gate(features: torch.Tensor, kind: Gate) -> None:
    split = FrequencySplit(3, kind=kind)
    split(features)[0].square().sum().backward()
    parameters = dict(split.named_parameters())
    assert set(parameters) >= {"radius_logit", "softness_log"}
    assert ("shift.weight" in parameters) == (kind == "content")
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().min() > 0, name


def test_it_computes_in_float32_under_autocast(features: torch.Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, high = FrequencySplit(3)(features)
    assert low.dtype == high.dtype == torch.float32
    torch.testing.assert_close(low + high, features)
