import math

import numpy as np
import pytest
import torch

from harmoniad.models.harmoniad.frequency import FrequencySplit, radial_frequency


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(2, 3, 12, 9, generator=torch.Generator().manual_seed(0))


def test_low_and_high_add_up_to_the_features(features: torch.Tensor) -> None:
    low, high = FrequencySplit()(features)
    assert low.shape == high.shape == features.shape
    torch.testing.assert_close(low + high, features)


def test_the_high_band_has_no_mean(features: torch.Tensor) -> None:
    _, high = FrequencySplit(radius=0.05, softness=0.5)(features + 5)
    assert high.mean((2, 3)).abs().max() < 1e-5


def test_a_constant_is_all_low() -> None:
    constant = torch.full((1, 1, 8, 8), 3.0)
    low, high = FrequencySplit()(constant)
    torch.testing.assert_close(low, constant)
    assert high.abs().max() < 1e-6


def test_a_chessboard_is_all_high() -> None:
    chessboard = ((torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1).view(1, 1, 8, 8)
    low, high = FrequencySplit()(chessboard)
    torch.testing.assert_close(high, chessboard, atol=1e-5, rtol=0)
    assert low.abs().max() < 1e-5


def test_the_gate_is_the_formula() -> None:
    split = FrequencySplit(radius=0.3, softness=0.1)
    gate = split.gate(6, 6)
    assert gate[0, 0] == 1
    radius = math.hypot(2 / 6, 1 / 6) / math.sqrt(0.5)
    assert gate[2, 1].item() == pytest.approx(1 / (1 + math.exp(-(0.3 - radius) / 0.1)), abs=1e-6)
    assert split.radius.item() == pytest.approx(0.3, abs=1e-6)


def test_the_radius_reaches_one_at_the_corner() -> None:
    radius = radial_frequency(8, 8, torch.device("cpu"))
    assert radius[0, 0] == 0
    assert radius[4, 4].item() == pytest.approx(1)


def test_it_agrees_with_a_full_complex_transform(features: torch.Tensor) -> None:
    split = FrequencySplit(radius=0.4, softness=0.1)
    low, _ = split(features)
    vertical, horizontal = np.fft.fftfreq(12)[:, None], np.fft.fftfreq(9)[None]
    radius = np.sqrt(vertical**2 + horizontal**2) / 0.5**0.5
    gate = 1 / (1 + np.exp(-(0.4 - radius) / 0.1))
    gate[0, 0] = 1
    expected = np.fft.ifft2(np.fft.fft2(features.numpy()) * gate)
    assert np.abs(expected.imag).max() < 1e-6
    np.testing.assert_allclose(low.detach().numpy(), expected.real, atol=1e-5)


def test_the_gradient_reaches_the_gate(features: torch.Tensor) -> None:
    split = FrequencySplit()
    low, _ = split(features)
    low.square().sum().backward()
    assert split.radius_logit.grad is not None
    assert split.radius_logit.grad.abs() > 0
    assert split.softness_log.grad is not None
    assert split.softness_log.grad.abs() > 0


def test_it_computes_in_float32_under_autocast(features: torch.Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low, high = FrequencySplit()(features)
    assert low.dtype == high.dtype == torch.float32
    torch.testing.assert_close(low + high, features)
