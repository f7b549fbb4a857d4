from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from harmoniad.models.reconstruction.loss import hard_mined_cosine, soft_mined_cosine, token_distance


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_distance_of_hand_made_tokens() -> None:
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]).T.reshape(1, 2, 3, 1)
    prediction = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]).T.reshape(1, 2, 3, 1)
    assert token_distance(target, prediction).flatten().tolist() == [0.0, 1.0, 2.0]


def test_the_loss_damps_the_gradient_of_well_fitted_tokens_only() -> None:
    target = features(1, 4, 1, 10)
    start = target + torch.linspace(0.01, 2, 10).view(1, 1, 1, 10) * features(1, 4, 1, 10).flip(1)
    gradients = []
    for share in (0.0, 0.5):
        prediction = start.clone().requires_grad_()
        loss = hard_mined_cosine([target], [prediction * 1.0], share)
        loss.backward()
        gradients.append(prediction.grad)
    ratio = (gradients[1] / gradients[0]).mean(1).flatten()  # type: ignore[operator]
    order = token_distance(target, start).flatten().argsort()
    torch.testing.assert_close(ratio[order[:5]], torch.full((5,), 0.1))
    torch.testing.assert_close(ratio[order[5:]], torch.ones(5))


def test_soft_mining_weights_the_gradient_by_the_power_of_the_distance() -> None:
    target = features(2, 4, 1, 10)
    start = target + torch.linspace(0.01, 2, 10).view(1, 1, 1, 10) * features(2, 4, 1, 10).flip(1)
    gradients = []
    for power in (0.0, 3.0):
        prediction = start.clone().requires_grad_()
        soft_mined_cosine([target], [prediction * 1.0], power).backward()
        gradients.append(prediction.grad)
    ratio = (gradients[1] / gradients[0]).mean(1)  # type: ignore[operator]
    distance = token_distance(target, start)
    torch.testing.assert_close(ratio, (distance / distance.mean()) ** 3, rtol=1e-3, atol=1e-5)


def test_both_losses_have_the_same_value_and_plain_gradient() -> None:
    target, start = features(2, 4, 3, 3), features(2, 4, 3, 3).flip(1)
    results = []
    for loss in (hard_mined_cosine, soft_mined_cosine):
        prediction = start.clone().requires_grad_()
        value = loss([target], [prediction * 1.0], 0.0)
        value.backward()
        results.append((value.detach(), prediction.grad))
    plain = start.clone().requires_grad_()
    expected = (1 - F.cosine_similarity(target.flatten(1), plain.flatten(1))).mean()
    expected.backward()
    for value, gradient in results:
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(gradient, plain.grad)


@pytest.mark.parametrize("loss", [hard_mined_cosine, soft_mined_cosine])
def test_the_weighted_gradient_flows_under_autocast(loss: Callable[..., torch.Tensor]) -> None:
    layer, tokens = torch.nn.Linear(4, 4), features(2, 9, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = layer(tokens).transpose(1, 2).unflatten(2, (3, 3))
        assert prediction.dtype == torch.bfloat16
        loss([features(2, 4, 3, 3)], [prediction], 0.5).backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().max() > 0


def test_a_perfect_prediction_costs_nothing() -> None:
    target = features(2, 4, 3, 3)
    assert hard_mined_cosine([target], [target * 3], 0.9).item() == pytest.approx(0, abs=1e-6)
    prediction = (target * 3).requires_grad_()
    soft_mined_cosine([target], [prediction * 1.0], 3.0).backward()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
