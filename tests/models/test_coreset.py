import numpy as np
import torch

from harmoniad.models.coreset import greedy_coreset


def slow_coreset(points: np.ndarray, first: int, count: int) -> list[int]:
    chosen = [first]
    while len(chosen) < count:
        distances = np.linalg.norm(points[:, None] - points[chosen][None], axis=2).min(1)
        chosen.append(int(distances.argmax()))
    return chosen


def test_the_coreset_is_the_greedy_one() -> None:
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()
    chosen = greedy_coreset(points, 20, torch.Generator().manual_seed(0)).tolist()
    assert chosen == slow_coreset(points.double().numpy(), chosen[0], 20)


def test_equal_patches_are_not_chosen_twice() -> None:
    chosen = greedy_coreset(torch.ones(10, 4), 10, torch.Generator().manual_seed(0))
    assert sorted(chosen.tolist()) == list(range(10))


def test_wide_patches_are_projected_and_stay_apart() -> None:
    points = torch.randn(5, 300, generator=torch.Generator().manual_seed(1)).repeat(10, 1)
    chosen = greedy_coreset(points, 5, torch.Generator().manual_seed(0))
    assert sorted(index % 5 for index in chosen.tolist()) == [0, 1, 2, 3, 4]


def test_the_choice_goes_on_beyond_the_patches_that_are_measured_at_once() -> None:
    points = torch.randn(400, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64).float()
    points[:200] *= 0.05  # crowded, so that one choice makes many others needless
    chosen = greedy_coreset(points, 300, torch.Generator().manual_seed(0)).tolist()
    assert len(set(chosen)) == 300
    assert chosen == slow_coreset(points.double().numpy(), chosen[0], 300)
