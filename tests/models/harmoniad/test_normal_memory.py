from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from harmoniad.models import memory as common
from harmoniad.models.harmoniad import memory
from harmoniad.models.harmoniad.memory import NOBODY, NormalMemory, low_tokens, shortening, tokens_of
from tests.models.features import PatternFeatures

CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small_memory(count: int = 30, channels: int = 5) -> NormalMemory:
    owners = torch.arange(count) % 4
    categories = torch.arange(count) // (count // 2)
    return NormalMemory(
        torch.zeros(channels), torch.eye(channels), random(count, channels), categories.clamp(max=1), owners
    )


def built(
    features: PatternFeatures, owners: Sequence[int] | None = None, seed: int = 0, size: int = 40, channels: int = 384
) -> NormalMemory:
    numbers = [sorted(set(features.categories)).index(name) for name in features.categories]
    owners = owners or range(len(features))
    return NormalMemory.build(
        features,
        lambda layers: tokens_of(layers, 8, "layer"),
        owners,
        numbers,
        size=size,
        channels=channels,
        seed=seed,
        device=CPU,
    )


def test_tokens_are_the_layers_on_one_grid() -> None:
    fine, coarse = random(2, 3, 4, 4), random(2, 5, 2, 2, seed=1)
    tokens = tokens_of([fine, coarse], 4, "channel")
    assert tokens.shape == (2, 16, 8)
    inner = tokens.view(2, 4, 4, 8)[:, 1:3, 1:3]
    torch.testing.assert_close(inner[..., :3], fine[:, :, 1:3, 1:3].movedim(1, -1))  # neither pooled nor scaled
    corner = tokens[0, 0, 3:]  # the finer grid's corner lies outside the coarser one's centres
    torch.testing.assert_close(corner, coarse[0, :, 0, 0] * 4 / 9)


def test_tokens_at_the_border_are_shrunk_as_by_pooling_with_zeros_around() -> None:
    flat = torch.ones(1, 2, 5, 5)
    pooled = F.avg_pool2d(flat, 3, stride=1, padding=1)
    torch.testing.assert_close(tokens_of([flat], 5, "channel"), pooled.flatten(2).transpose(1, 2))


def test_the_low_band_is_the_mean_of_four_by_four_neighbours() -> None:
    tokens = random(2, 36, 3)
    low, image = low_tokens(tokens, 6).view(2, 3, 3, 3), tokens.view(2, 6, 6, 3)
    torch.testing.assert_close(low[:, 1, 1], image[:, 1:5, 1:5].mean((1, 2)))
    torch.testing.assert_close(low[:, 0, 2], image[:, 0:3, 3:6].sum((1, 2)) / 16)  # zeros around
    assert low_tokens(random(2, 49, 3), 7).shape == (2, 9, 3)
    assert low_tokens(random(2, 1, 3), 1).shape == (2, 1, 3)


def test_the_layer_norm_takes_each_token_of_each_layer() -> None:
    layers = [5 + 3 * random(2, 6, 4, 4), 0.01 * random(2, 7, 4, 4)]
    tokens = tokens_of(layers, 4, "layer")
    for part in (tokens[..., :6], tokens[..., 6:]):
        assert part.mean(2).abs().max() < 1e-5
    torch.testing.assert_close(tokens[0, 5, :6], F.layer_norm(layers[0][0, :, 1, 1], (6,)))


@pytest.mark.parametrize("owner", [NOBODY, 0, 3])
def test_nearest_agrees_with_all_distances(owner: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PATCHES_AT_ONCE", 7)  # several parts
    assert common.PATCHES_AT_ONCE > 7
    normal, queries = small_memory(), random(50, 5, seed=1)
    distances = torch.cdist(queries, normal.tokens)
    distances[:, normal.owners == owner] = torch.inf
    nearest = normal.nearest(queries, owner)
    assert torch.equal(nearest, distances.argmin(1))
    assert not (normal.owners[nearest] == owner).any()


def test_a_token_finds_itself_unless_its_image_is_left_out() -> None:
    normal = small_memory()
    assert torch.equal(normal.nearest(normal.tokens), torch.arange(30))
    for owner in range(4):
        own = normal.owners == owner
        found = normal.nearest(normal.tokens[own], owner)
        assert (normal.owners[found] != owner).all()


def test_the_deviation_is_the_difference_to_the_nearest() -> None:
    normal, tokens = small_memory(), random(2, 9, 5, seed=2)
    nearest = normal.nearest(tokens.flatten(0, 1)).view(2, 9)
    deviation = normal.deviation(tokens, nearest, 3)
    assert deviation.shape == (2, 5, 3, 3)
    for image in range(2):
        for row in range(3):
            for column in range(3):
                index = 3 * row + column
                difference = tokens[image, index] - normal.tokens[nearest[image, index]]
                assert torch.equal(deviation[image, :, row, column], difference)
    distances = torch.cdist(tokens, normal.tokens).amin(2)
    torch.testing.assert_close(deviation.norm(dim=1).flatten(1), distances)


def test_the_category_is_that_of_most_tokens() -> None:
    normal = small_memory(4)  # categories 0 0 1 1
    assert normal.categories.tolist() == [0, 0, 1, 1]
    nearest = torch.tensor([[0, 1, 1, 2, 3], [0, 2, 2, 3, 3]])
    assert normal.category_of(nearest).tolist() == [0, 1]


def shortened(tokens: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return shortening(tokens, count, torch.Generator().manual_seed(0))


def test_the_first_channels_are_the_principal_components() -> None:
    tokens = random(200, 6) * torch.tensor([9.0, 5.0, 3.0, 1.0, 0.3, 0.1]) @ random(6, 6, seed=1) + 4
    mean, components = shortened(tokens, 3)  # too few for a random direction
    assert components.shape == (6, 3)
    centred = tokens.numpy().astype(float) - tokens.numpy().mean(0, dtype=float)
    _, _, rows = np.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(mean, tokens.mean(0))
    torch.testing.assert_close(components.T @ components, torch.eye(3), atol=1e-5, rtol=0)
    expected = torch.from_numpy(centred @ rows[:3].T).float()
    found = (tokens - mean) @ components
    torch.testing.assert_close(found.abs(), expected.abs(), atol=1e-3, rtol=1e-3)  # a sign may differ
    torch.testing.assert_close(torch.cdist(found, found), torch.cdist(expected, expected), atol=2e-2, rtol=1e-3)
    assert (found.var(0).diff() < 0).all()  # the first tells most


def test_as_many_components_as_the_rank_keep_all_distances() -> None:
    tokens = random(100, 4) @ random(4, 20, seed=1) + 2  # rank 4 in 20 channels
    mean, components = shortened(tokens, 6)
    reduced = (tokens - mean) @ components
    torch.testing.assert_close(torch.pdist(reduced), torch.pdist(tokens), atol=1e-3, rtol=1e-3)


def test_what_the_components_lack_keeps_its_length_on_average() -> None:
    normal = random(500, 10) @ random(10, 600, seed=1)  # in a subspace
    _, components = shortened(normal, 300)
    strange = random(400, 600, seed=2)  # anywhere
    lengths = ((strange @ components).norm(dim=1) / strange.norm(dim=1)).numpy()
    assert lengths.mean() == pytest.approx(1, abs=0.05)
    assert lengths.std() < 0.15
    principal = components[:, :250]
    assert (principal.T @ components[:, 250:]).abs().max() < 1e-3


def test_few_channels_are_kept_unrotated() -> None:
    tokens = random(50, 4)
    mean, components = shortened(tokens, 4)
    assert torch.equal(components, torch.eye(4))
    torch.testing.assert_close(mean, tokens.mean(0))


@pytest.mark.parametrize(("channels", "width"), [(7, 7), (384, 32)])
def test_the_memory_is_bounded_and_knows_where_a_token_is_from(channels: int, width: int) -> None:
    features = PatternFeatures(10)
    normal = built(features, channels=channels)
    assert normal.tokens.shape == (40, width)
    assert normal.components.shape == (32, width)
    assert set(normal.categories.tolist()) == {0, 1}
    for token, owner, category in zip(normal.tokens, normal.owners.tolist(), normal.categories.tolist(), strict=True):
        own = normal.project(tokens_of(features.batch([owner]), 8, "layer")[0])
        assert (own - token).norm(dim=1).min() < 1e-4
        assert features.categories[owner] == "ab"[category]


def test_views_of_an_image_have_one_owner() -> None:
    normal = built(PatternFeatures(6), owners=[0, 0, 1, 1, 2, 2])
    assert set(normal.owners.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("count", [1, 4])
def test_few_images_are_enough(count: int) -> None:
    normal = built(PatternFeatures(count), size=1000)
    assert len(normal.tokens) == 64 * count  # all of their tokens
    assert set(normal.owners.tolist()) == set(range(count))


def test_more_images_than_tokens_are_drawn_from() -> None:
    normal = built(PatternFeatures(30), size=2)  # 20 are drawn
    assert len(normal.tokens) == 2


def test_the_seed_decides() -> None:
    first, second, other = (built(PatternFeatures(10), seed=seed).state("memory") for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["memory.tokens"], other["memory.tokens"])


def test_what_is_kept_is_restored() -> None:
    normal = built(PatternFeatures(10), channels=7)
    again, tokens = NormalMemory.restore(normal.state("memory"), "memory"), random(20, 32, seed=3)
    assert set(normal.state("memory")) == {f"memory.{name}" for name in ("mean", "components", "tokens", "categories")}
    assert torch.equal(again.project(tokens), normal.project(tokens))
    nearest = normal.nearest(normal.project(tokens))
    assert torch.equal(again.nearest(again.project(tokens)), nearest)
    assert torch.equal(again.category_of(nearest[None]), normal.category_of(nearest[None]))
    assert set(again.owners.tolist()) == {NOBODY}
    moved = again.to(CPU)
    assert torch.equal(moved.nearest(moved.project(tokens)), nearest)
