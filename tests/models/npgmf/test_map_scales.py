import pytest
import torch

from harmoniad.models.npgmf.fusion import Scale, fuse, measure_maps, top


def test_quantiles_of_images_computed_by_hand() -> None:
    scores = torch.tensor([0.0, 1, 2, 3, 4, 10, 20, 30, 40, 50, torch.nan])
    category = torch.tensor([0] * 5 + [1] * 6)
    scale = Scale.of_images(scores, category, 2)
    torch.testing.assert_close(scale.quantiles, torch.tensor([[2.0, 3.6], [30.0, 46.0]]))
    scaled = scale(torch.tensor([2.0, 3.6, 46.0]), torch.tensor([0, 0, 1]))
    torch.testing.assert_close(scaled, torch.tensor([0.0, 1.0, 1.0]))


def test_a_category_with_few_images_takes_those_of_all() -> None:
    scores = torch.tensor([0.0, 1, 2, 3, 9])
    scale = Scale.of_images(scores, torch.tensor([0, 0, 0, 0, 1]), 2)
    torch.testing.assert_close(scale.quantiles[0], torch.tensor([1.5, 2.7]))
    torch.testing.assert_close(scale.quantiles[1], torch.tensor([2.0, 6.6]))  # of 0, 1, 2, 3, 9


def test_equal_scores_and_none_at_all_give_a_scale() -> None:
    same = Scale.of_images(torch.full((6,), 5.0), torch.zeros(6, dtype=torch.long), 1)
    assert same(torch.tensor([5.0]), torch.tensor([0])).item() == 0
    unknown = Scale.of_images(torch.full((3,), torch.nan), torch.zeros(3, dtype=torch.long), 1)
    assert unknown(torch.tensor([0.5]), torch.tensor([0])).item() == pytest.approx(0.5)


def test_quantiles_of_places_are_those_of_their_neighbourhoods() -> None:
    maps = torch.rand(6, 7, 7, generator=torch.Generator().manual_seed(0))
    maps[:, :, 4:] *= 10  # a part that is always hard
    category = torch.zeros(6, dtype=torch.long)
    scale = Scale.of_places(maps, category, 1)
    around = maps[:, 1:6, 1:6].flatten()
    low, high = torch.quantile(around, 0.5), torch.quantile(around, 0.9)
    torch.testing.assert_close(scale.quantiles[0, 0, 3, 3], low)
    spreads = []
    for row in range(7):
        for column in range(7):
            rows = torch.arange(row - 2, row + 3).clamp(0, 6)
            columns = torch.arange(column - 2, column + 3).clamp(0, 6)
            near = maps[:, rows][:, :, columns].flatten()
            spreads.append(torch.quantile(near, 0.9) - torch.quantile(near, 0.5))
    expected = high - low + 0.5 * torch.stack(spreads).mean()
    torch.testing.assert_close(scale.quantiles[0, 1, 3, 3] - low, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("by_place", [True, False])
def test_held_out_images_have_the_quantiles_0_and_1(by_place: bool) -> None:
    maps = torch.rand(20, 12, 12, generator=torch.Generator().manual_seed(1))
    maps *= torch.linspace(1, 2, 20)[:, None, None]
    category = torch.arange(20) % 2
    scaled = top(measure_maps(maps, category, 2, by_place=by_place)(maps, category))
    for number in (0, 1):
        wanted = torch.quantile(scaled[category == number], torch.tensor([0.5, 0.9]))
        torch.testing.assert_close(wanted, torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)


def test_maps_are_joined() -> None:
    maps = {"structural": torch.tensor([[[1.0, -2.0]]]), "composition": torch.tensor([[[0.5, 3.0]]])}
    assert fuse(maps, "maximum").tolist() == [[[1.0, 3.0]]]
    assert fuse(maps, "sum").tolist() == [[[2.0, 4.0]]]  # the composition counts twice
    assert fuse({"logical": torch.tensor([[[1.0, 4.0]]])}, "sum").tolist() == [[[0.5, 2.0]]]
    assert top(torch.tensor([[[1.0, 7.0], [2.0, 3.0]]])).item() == 7  # a hundredth of 4 places is one
