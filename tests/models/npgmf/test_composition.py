from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from harmoniad.models.npgmf import composition
from harmoniad.models.npgmf.composition import Composition, Gaussian, find_regions
from harmoniad.models.npgmf.levels import Levels, Seen


class Parts:
    """A tray of 12 x 12 cells with parts of two kinds, as many of each as `counts` tells, anywhere."""

    shapes = ((8, 12, 12),)

    def __init__(self, counts: Sequence[tuple[int, int]], seed: int) -> None:
        self.images = [f"{seed}-{index}" for index in range(len(counts))]
        self.categories = ["tray"] * len(counts)
        generator = torch.Generator().manual_seed(seed)
        kinds = torch.randn(3, 8, generator=torch.Generator().manual_seed(99))
        tray = kinds[0].view(1, 8, 1, 1).repeat(len(counts), 1, 12, 12)
        for image, (first, second) in zip(tray, counts, strict=True):
            cells = torch.randperm(16, generator=generator)[: first + second].tolist()
            for number, cell in enumerate(cells):
                row, column = 3 * (cell // 4), 3 * (cell % 4)
                image[:, row : row + 2, column : column + 2] = kinds[1 if number < first else 2].view(8, 1, 1)
        self._tray = tray + 0.05 * torch.randn(tray.shape, generator=generator)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        return [self._tray[list(indices)].clone()]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "CODES", 12)
    monkeypatch.setattr(composition, "REGIONS", 2)


def learned(features: Parts) -> tuple[Composition, Tensor, Levels]:
    torch.manual_seed(0)
    category = torch.zeros(len(features), dtype=torch.long)
    levels = Levels(features.shapes, 1)
    levels.measure(features, category)
    found, strange = Composition.fit(Seen(features, levels, category), range(len(features)), category, 1, 3)
    return found, strange, levels


def test_a_wrong_count_of_normal_parts_is_strange() -> None:
    found, strange, levels = learned(Parts([(4, 3)] * 24, seed=1))
    assert strange.isfinite().all()
    fresh = Parts([(4, 3)] * 6 + [(5, 3), (3, 3), (4, 4), (4, 2), (3, 4)], seed=2)
    distances, places = found(levels(fresh.batch(range(11))), torch.zeros(11, dtype=torch.long))
    assert distances[6:].min() > distances[:6].max()
    assert distances[:6].max() < 2 * strange.max()  # what the training images are to each other, new ones are too
    assert places.shape == (11, 12, 12)
    assert places.min() >= 0
    assert places.max() <= 1


def test_a_foreign_kind_of_part_is_where_the_map_is_high() -> None:
    found, _, levels = learned(Parts([(4, 3)] * 24, seed=1))
    tray = Parts([(4, 3)], seed=3).batch([0])[0]
    tray[:, :, 9:, 9:] = -2 * tray[:, :, :1, :1]
    _, places = found(levels([tray]), torch.zeros(1, dtype=torch.long))
    assert places[0, 9:, 9:].mean() > 3 * places[0].mean()


def test_too_few_images_say_nothing() -> None:
    found, strange, levels = learned(Parts([(4, 3)] * 3, seed=1))
    assert strange.isnan().all()
    distances, places = found(levels(Parts([(4, 3)], seed=2).batch([0])), torch.zeros(1, dtype=torch.long))
    assert distances.isnan().all()
    assert places.max() == 0


def test_the_gaussian_is_that_of_a_full_covariance() -> None:
    counts = torch.randn(9, 30, generator=torch.Generator().manual_seed(0))
    fresh = torch.randn(4, 30, generator=torch.Generator().manual_seed(1))
    found = Gaussian.fit(counts)
    covariance = torch.cov(counts.T.double())
    floor = 0.01 * covariance.trace() / 8
    deviation = fresh.double() - counts.mean(0)
    inverse = torch.linalg.inv(covariance + floor * torch.eye(30))
    expected = (deviation @ inverse * deviation).sum(1).sqrt()
    torch.testing.assert_close(found.distance(fresh).double(), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.gradient(fresh).double(), deviation @ inverse, rtol=1e-2, atol=1e-2)


def test_regions_are_places_of_like_content() -> None:
    usual = torch.zeros(1, 100, 4)
    left = torch.arange(100) % 10 < 4
    usual[0, left, 0] = 1
    usual[0, ~left, 1] = 1
    regions = find_regions(usual, 10)
    assert regions.sum(1).tolist() == [1] * 100
    assert torch.equal(regions[left][0].expand(40, -1), regions[left])
    assert not torch.equal(regions[left][0], regions[~left][0])
