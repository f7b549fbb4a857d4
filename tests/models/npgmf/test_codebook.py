import math

import pytest
import torch

from harmoniad.models.npgmf import codebook
from harmoniad.models.npgmf.codebook import Codebook, principal_components


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_step(
    codes: list[list[float]], uses: list[float], sums: list[list[float]], tokens: list[list[float]], decay: float
) -> tuple[list[list[float]], list[int]]:
    """One step of the moving averages, number by number; `uses` and `sums` are changed."""
    chosen = []
    for token in tokens:
        distances = [sum((a - b) ** 2 for a, b in zip(token, code, strict=True)) for code in codes]
        chosen.append(distances.index(min(distances)))
    for k in range(len(codes)):
        mine = [token for token, code in zip(tokens, chosen, strict=True) if code == k]
        uses[k] = decay * uses[k] + (1 - decay) * len(mine)
        for c in range(len(codes[0])):
            sums[k][c] = decay * sums[k][c] + (1 - decay) * sum(token[c] for token in mine)
    return [[sums[k][c] / uses[k] for c in range(len(codes[0]))] for k in range(len(codes))], chosen


def test_the_codes_follow_the_tokens_as_a_slow_loop_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebook, "DEAD_SHARE", 0.0)  # resets are another test's
    book = Codebook(5, 3, decay=0.9)
    book.start(random(40, 3))
    codes, uses, sums = book.codes.tolist(), book.uses.tolist(), book.sums.tolist()
    for step in range(4):
        tokens = random(2, 20, 3, seed=step + 1)
        quantised, commitment, perplexity = book.train()(tokens)
        flat = tokens.flatten(0, 1).tolist()
        before = codes
        codes, chosen = slow_step(codes, uses, sums, flat, 0.9)
        expected = torch.tensor([before[k] for k in chosen]).view_as(tokens)
        torch.testing.assert_close(quantised, expected)
        assert commitment.item() == pytest.approx((tokens - expected).square().mean().item(), rel=1e-4)
        shares = [chosen.count(k) / 40 for k in range(5) if k in chosen]
        assert perplexity.item() == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-4)
        torch.testing.assert_close(book.codes, torch.tensor(codes), rtol=1e-4, atol=1e-5)


def test_outside_of_training_the_codes_stay() -> None:
    book = Codebook(4, 3, decay=0.5).eval()
    before = book.codes.clone()
    book(random(1, 10, 3))
    assert torch.equal(book.codes, before)


def test_a_dead_code_is_put_where_a_token_lies() -> None:
    book = Codebook(3, 2, decay=0.5).train()
    book.codes.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [90.0, 90.0]]))
    book.sums.copy_(book.codes)
    tokens = torch.cat([0.1 * random(1, 10, 2), 1 + 0.1 * random(1, 10, 2, seed=1)], dim=1)
    for _ in range(9):
        book(tokens)
    assert book.codes[2].max() < 2  # it lay at 90, which no token is near
    quantised, _, perplexity = book.eval()(tokens)
    assert perplexity.item() > 2.05  # all three are used
    assert (quantised - tokens).abs().max() < 1


def test_the_gradient_goes_straight_through_and_the_commitment_pulls_tokens_only() -> None:
    book = Codebook(4, 3, decay=0.9).eval()
    tokens = random(1, 6, 3).requires_grad_()
    quantised, commitment, _ = book(tokens)
    weights = random(1, 6, 3, seed=5)
    (straight,) = torch.autograd.grad((quantised * weights).sum(), tokens)
    assert torch.equal(straight, weights)
    _, commitment, _ = book(tokens)
    (pull,) = torch.autograd.grad(commitment, tokens)
    nearest = book.codes[book.nearest(tokens.detach()[0])]
    torch.testing.assert_close(pull, 2 * (tokens.detach() - nearest) / tokens.numel())
    assert not list(book.parameters())


def test_fewer_tokens_than_codes() -> None:
    book = Codebook(7, 2, decay=0.9)
    book.start(random(3, 2))
    assert len(book.codes.unique(dim=0)) == 3


@pytest.mark.parametrize("exact", [True, False])
def test_principal_components_of_a_line(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebook, "EXACT_CHANNELS", 600 if exact else 1)
    torch.manual_seed(0)
    direction = torch.tensor([3.0, 4.0, 0.0, 0.0]) / 5
    tokens = 7 + 2 * random(500, 1) * direction + 0.01 * random(500, 4, seed=1)
    mean, components, deviations = principal_components(tokens, 2)
    torch.testing.assert_close(mean, tokens.mean(0))
    assert abs((components[:, 0] @ direction).item()) == pytest.approx(1, abs=1e-3)
    assert deviations[0].item() == pytest.approx(2, rel=0.1)
    torch.testing.assert_close(components.T @ components, torch.eye(2), atol=1e-5, rtol=0)
