from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from harmoniad.models.harmoniad.earned import (
    FusionWeights,
    auroc,
    earn_weights,
    equal_weights,
    measure_normal,
    overlap,
    top_mean,
)

WHERE = torch.tensor([[0.0, 0.0], [1.0, 0.0]])  # `maps_of` has its scores there


def maps_of(*scores: list[float]) -> torch.Tensor:
    """A map for each list, an image for each score, which is its highest token: (K, N, 2, 2)."""
    maps = torch.full((len(scores), len(scores[0]), 2, 2), -50.0)
    maps[:, :, 1, 0] = torch.tensor(scores)
    return maps


def unit(categories: int, maps: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(categories + 1, maps), torch.ones(categories + 1, maps)


def earned(
    good: torch.Tensor, good_categories: list[int], made: torch.Tensor, made_categories: list[int], count: int
) -> list[list[float]]:
    normal = unit(count, len(good))
    sets = good, torch.tensor(good_categories), made, torch.tensor(made_categories)
    found = earn_weights(*normal, *sets, WHERE.expand(made.shape[1], 2, 2), [1] * len(good))
    assert (found.level, found.excess) == normal
    return found.weights.tolist()


def test_a_map_that_is_perfect_outweighs_one_that_is_noise() -> None:
    good = maps_of([0, 0.1, 0.2, 0.1], [1, 2, 3, 4])
    made = maps_of([90, 91, 92, 93], [2, 3, 1, 4])
    # Every mixture but the second map alone is perfect: the mean of (1/4, 2/4, 3/4, 1).
    assert earned(good, [0] * 4, made, [0] * 4, 1) == [[0.625, 0.375]] * 2


def test_a_map_that_misleads_gets_nothing() -> None:
    good, made = maps_of([0, 0], [10, 10]), maps_of([1, 1], [0, 0])
    assert earned(good, [0, 0], made, [0, 0], 1) == [[1, 0]] * 2


def test_a_map_gets_no_more_than_its_limit() -> None:
    good, made = maps_of([10, 10], [0, 0]), maps_of([0, 0], [40, 40])
    sets = good, torch.zeros(2), made, torch.zeros(2), WHERE.expand(2, 2, 2)
    assert earn_weights(*unit(1, 2), *sets, [1, 0.25]).weights.tolist() == [[0.75, 0.25]] * 2


def test_each_category_has_the_map_that_is_good_for_it_and_the_others_the_common_one() -> None:
    # The first map misleads in category 1, the second in category 0; category 2 has no copies, category 3 nothing.
    good = maps_of([0, 0, 10, 10, 0], [10, 10, 0, 0, 0])
    made = maps_of([1, 1, 0, 0], [0, 0, 1, 1])
    found = earned(good, [0, 0, 1, 1, 2], made, [0, 0, 1, 1], 4)
    assert found == [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]


def test_the_scale_of_a_map_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    good = torch.randn(2, 20, 4, 4, generator=generator)
    made = torch.randn(2, 20, 4, 4, generator=generator) + torch.tensor([1.0, 0.5]).view(2, 1, 1, 1)
    categories = torch.arange(20) % 2
    found = []
    for scale, offset in ((1.0, 0.0), (4.0, 16.0)):
        factor = torch.tensor([1.0, scale]).view(2, 1, 1, 1)
        shift = torch.tensor([0.0, offset]).view(2, 1, 1, 1)
        normal, changed = good * factor + shift, made * factor + shift
        statistics = measure_normal(normal, categories, 2)
        shares = (torch.arange(16) < 3).float().view(4, 4).expand(20, 4, 4)
        found.append(earn_weights(*statistics, normal, categories, changed, categories, shares, [1, 1]).weights)
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("maps", [1, 3])
def test_it_agrees_with_a_slow_search(maps: int) -> None:
    generator = np.random.default_rng(maps)
    count, tokens = 3, 200
    good_categories, made_categories = generator.integers(0, count, 24), generator.integers(0, count, 24)
    good = generator.normal(size=(maps, 24, 10, 20))
    made = generator.normal(size=(maps, 24, 10, 20)) + np.linspace(0, 1, maps)[:, None, None, None]
    shares = generator.choice([0, 0.01, 0.1, 0.5, 1], size=(24, 10, 20), p=[0.8, 0.05, 0.05, 0.05, 0.05])
    shares[3] = 0  # a copy whose defect is too small for the grid
    mean, deviation = generator.normal(size=(count + 1, maps)), generator.uniform(0.5, 2, (count + 1, maps))

    mixtures = [np.array(m) / 4 for m in product(range(5), repeat=maps) if sum(m) == 4]
    criteria = np.zeros((count, len(mixtures)))
    for category, (index, mixture) in product(range(count), enumerate(mixtures)):
        scores, fused_maps = [], []
        for images in (good[:, good_categories == category], made[:, made_categories == category]):
            for image in range(images.shape[1]):
                parts = [(images[k, image] - mean[category, k]) / deviation[category, k] for k in range(maps)]
                fused = sum(w * part for w, part in zip(mixture, parts, strict=True))
                scores.append(np.sort(fused.ravel())[-tokens // 100 :].mean())
                fused_maps.append(fused)
        labels = [0] * (good_categories == category).sum() + [1] * (made_categories == category).sum()
        located = slow_overlap(
            [m for m, label in zip(fused_maps, labels, strict=True) if not label],
            [m for m, label in zip(fused_maps, labels, strict=True) if label],
            shares[made_categories == category],
        )
        criteria[category, index] = (roc_auc_score(labels, scores) + located) / 2
    common = criteria.mean(0)
    expected = [
        np.mean([m for m, value in zip(mixtures, row, strict=True) if value >= row.max() - 0.015], 0)
        for row in [*(0.5 * criteria + 0.5 * common), common]
    ]

    tensors = [torch.from_numpy(part).float() for part in (mean, deviation, good, made)]
    chosen = earn_weights(
        tensors[0],
        tensors[1],
        tensors[2],
        torch.from_numpy(good_categories),
        tensors[3],
        torch.from_numpy(made_categories),
        torch.from_numpy(shares),
        [1] * maps,
    )
    np.testing.assert_allclose(chosen.weights.numpy(), np.stack(expected), atol=1e-6)
    torch.testing.assert_close(chosen.weights.sum(1), torch.ones(count + 1))


def slow_overlap(good: list[np.ndarray], made: list[np.ndarray], shares: np.ndarray) -> float:
    """Token by token, in words of the docstring."""
    sound = sorted((v for m in good for v in m.ravel()), reverse=True)
    sound = sorted([*sound, *(v for m, s in zip(made, shares, strict=True) for v in m[s <= 0.02])], reverse=True)
    most = int(0.3 * len(sound))
    thresholds = sound[:most][:: max(1, most // 200)]
    found = [
        np.mean([(m[s > 0.3] > threshold).mean() for threshold in thresholds])
        for m, s in zip(made, shares, strict=True)
        if (s > 0.3).any()
    ]
    return float(np.mean(found))


def test_of_two_maps_that_tell_alike_the_one_that_shows_where_wins() -> None:
    good = torch.zeros(2, 10, 4, 4)
    made = good.clone()
    made[:, :, 0, 0] = 10.0  # where the defect is
    made[1] = torch.where(torch.arange(16).view(4, 4) % 2 == 1, 12.0, made[1])  # a coarse map shouts elsewhere, too
    shares = torch.zeros(10, 4, 4)
    shares[:, 0, 0] = 1
    nobody = torch.zeros(10)
    found = earn_weights(*unit(1, 2), good, nobody, made, nobody, shares, [1, 1]).weights
    assert found[0, 0] > found[0, 1]


def test_overlap_by_hand() -> None:
    # Of ten sound tokens three may be flagged: at the thresholds 9, 8 and 7.
    normal = torch.arange(10.0)[None]
    changed = torch.tensor([[9.5, 7.5, 0.0, 0.0], [8.5, 100.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    shares = torch.tensor([[1.0, 0.5, 0.1, 0.1], [0.31, 0.3, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]])
    # The first copy: 1 of 1, 1, 1 and 0, 0, 1 of 1; the second: 0, 1, 1; the third has no defective token.
    assert overlap(normal, changed, shares).item() == pytest.approx(((1 + 1 / 3) / 2 + 2 / 3) / 2)


@pytest.mark.parametrize("missing", ["good", "made"])
def test_without_something_to_tell_apart_all_maps_weigh_the_same(missing: str) -> None:
    maps = maps_of([0, 0], [1, 1], [2, 2])
    nothing = maps[:, :0]
    good, made = (nothing, maps) if missing == "good" else (maps, nothing)
    found = earned(good, [0] * good.shape[1], made, [0] * made.shape[1], 2)
    assert torch.tensor(found).flatten().tolist() == pytest.approx([1 / 3] * 9)


def test_equal_weights() -> None:
    mean, deviation = unit(2, 4)
    assert equal_weights(mean, deviation).weights.tolist() == [[0.25] * 4] * 3


def test_level_and_excess_are_of_a_category_and_the_last_of_all() -> None:
    maps = torch.randn(2, 6, 10, 10, generator=torch.Generator().manual_seed(0))
    categories = torch.tensor([0, 0, 2, 2, 2, 0])
    level, excess = measure_normal(maps, categories, 3)
    assert level.shape == excess.shape == (4, 2)
    values = np.sort(maps[1, 2:5].numpy().ravel())
    assert level[2, 1].item() == pytest.approx(values[297])  # 99 of 100 are below or equal
    assert excess[2, 1].item() == pytest.approx((values[298:] - values[297]).mean(), abs=1e-6)
    values = np.sort(maps[0].numpy().ravel())
    assert level[3, 0].item() == pytest.approx(values[594])
    assert torch.equal(level[1], level[3])  # it has no image
    assert torch.equal(excess[1], excess[3])
    assert (measure_normal(torch.zeros(1, 2, 3, 3), torch.zeros(2), 1)[1] > 0).all()  # nothing is divided by 0


def test_a_map_that_stays_at_its_highest_value_is_not_stretched() -> None:
    level, excess = measure_normal(torch.tensor([0.0, 1, 1, 1] * 100).view(1, 1, 20, 20), torch.zeros(1), 1)
    assert level[0, 0] == 1
    assert excess[0, 0].item() == pytest.approx(0.1 * np.sqrt(3) / 4, rel=0.01)


def test_the_excess_of_an_exponential_tail_is_its_scale() -> None:
    values = np.random.default_rng(0).exponential(3, 40_000).astype(np.float32)
    level, excess = measure_normal(torch.from_numpy(values).view(1, 4, 100, 100), torch.zeros(4), 1)
    assert level[0, 0].item() == pytest.approx(3 * np.log(100), rel=0.05)
    assert excess[0, 0].item() == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("categories", [[0, 2, 1, 0], None])
def test_the_fused_map_is_the_formula(categories: list[int] | None) -> None:
    generator = torch.Generator().manual_seed(0)
    mean, maps = (torch.randn(size, generator=generator) for size in ((4, 3), (3, 4, 2, 5)))
    deviation, weights = (torch.rand(4, 3, generator=generator) + 0.1 for _ in range(2))
    fused = FusionWeights(mean, deviation, weights).fuse(maps, torch.tensor(categories) if categories else None)
    assert fused.shape == (4, 2, 5)
    for image, row, column in product(range(4), range(2), range(5)):
        number = categories[image] if categories else 3
        expected = sum(
            weights[number, k] * (maps[k, image, row, column] - mean[number, k]) / deviation[number, k]
            for k in range(3)
        )
        assert fused[image, row, column].item() == pytest.approx(float(expected), abs=1e-4)


def test_a_single_map_stays_as_it_is() -> None:
    maps = torch.randn(1, 4, 2, 5)
    mean, deviation = torch.full((3, 1), 5.0), torch.full((3, 1), 2.0)
    assert torch.equal(equal_weights(mean, deviation).fuse(maps, torch.tensor([0, 1, 1, 0])), maps[0])


def test_the_score_is_the_mean_of_the_highest_hundredth() -> None:
    maps = torch.arange(300.0)[None]
    assert top_mean(maps).tolist() == [298]
    assert top_mean(maps[:, :20]).tolist() == [19]


@settings(deadline=None)
@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=30),
    st.lists(st.integers(-3, 3), min_size=1, max_size=30),
)
def test_auroc_agrees_with_scikit_learn_on_ties_too(positive: list[int], negative: list[int]) -> None:
    found = auroc(torch.tensor(positive, dtype=torch.float32), torch.tensor(negative, dtype=torch.float32))
    labels = [1] * len(positive) + [0] * len(negative)
    assert found.item() == pytest.approx(roc_auc_score(labels, positive + negative), abs=1e-6)
