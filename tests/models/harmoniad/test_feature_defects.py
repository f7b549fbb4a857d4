import pytest
import torch

from harmoniad.models.harmoniad.feature_defects import LARGEST, with_feature_defects

GRID = 10


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(GRID**2, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7)


@pytest.mark.parametrize("seed", range(20))
def test_only_a_block_is_changed(tokens: torch.Tensor, seed: int) -> None:
    before = tokens.clone()
    torch.manual_seed(seed)
    changed, hit = with_feature_defects(tokens, GRID, 0.5)
    assert torch.equal(tokens, before)
    assert torch.equal(changed[~hit], tokens[~hit])
    assert hit.any()
    rows, columns = hit.view(GRID, GRID).nonzero().unbind(1)
    height, width = (int(places.max() - places.min()) + 1 for places in (rows, columns))
    assert int(hit.sum()) == height * width  # a full rectangle
    assert max(height, width) <= LARGEST * GRID
    assert (changed[hit] != tokens[hit]).any()


def test_it_draws_from_the_global_generator(tokens: torch.Tensor) -> None:
    def made(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return with_feature_defects(tokens, GRID, 0.5)[0]

    assert torch.equal(made(3), made(3))
    assert not torch.equal(made(3), made(4))


def test_half_of_the_defects_are_noise_of_the_channels_own_size_and_half_are_tokens_from_elsewhere(
    tokens: torch.Tensor,
) -> None:
    torch.manual_seed(0)
    noise, shuffled = [], 0
    for _ in range(400):
        changed, hit = with_feature_defects(tokens, GRID, 0.5)
        if (changed[hit][:, None] == tokens).all(2).any(1).all():
            shuffled += 1
        else:
            noise.append(changed[hit] - tokens[hit])
    assert 150 < shuffled < 250
    ratio = torch.cat(noise).std(0) / tokens.std(0)
    torch.testing.assert_close(ratio, torch.full((6,), 0.5), atol=0.06, rtol=0)


def test_a_tiny_grid_loses_one_token() -> None:
    torch.manual_seed(0)
    _, hit = with_feature_defects(torch.randn(4, 3), 2, 0.5)
    assert int(hit.sum()) == 1
