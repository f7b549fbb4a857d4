import math

import numpy as np
import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.metrics import aupimo, aupimo_of_images

BOUNDS = (0.01, 0.2)


def slow_aupimo(masks, maps, bounds):
    """The definition: at each of many rates between the bounds, the recall at the lowest threshold that keeps it."""
    good = [scores.ravel() for mask, scores in zip(masks, maps, strict=True) if not mask.any()]
    places = np.exp(np.linspace(*np.log(bounds), 4001))
    thresholds = np.unique(np.concatenate(good))[::-1]
    rates = np.array([np.mean([np.mean(scores >= threshold) for scores in good]) for threshold in thresholds])
    areas = []
    for mask, scores in zip(masks, maps, strict=True):
        if not mask.any():
            areas.append(None)
            continue
        # Down to just above the first good score that is too many.
        first_too_many = thresholds[np.searchsorted(rates, places, side="right")]
        recall = [np.mean(scores[mask] > threshold) for threshold in first_too_many]
        areas.append(float(np.trapezoid(recall, np.log(places)) / math.log(bounds[1] / bounds[0])))
    return areas


def draw(seed=0, sizes=((20, 20), (20, 20), (20, 20), (20, 20), (10, 30))):
    rng = np.random.default_rng(seed)
    masks = [np.zeros(size, bool) for size in sizes]
    masks[0][2:6, 3:9] = masks[1][:2, :3] = True
    return masks, [rng.normal(2.0 * mask, 1.0) for mask in masks]  # no two scores are equal


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_definition(seed):
    masks, maps = draw(seed)
    got, expected = aupimo_of_images(masks, maps, BOUNDS), slow_aupimo(masks, maps, BOUNDS)
    assert got == pytest.approx(expected, abs=2e-3)  # the oracle's grid
    assert [area is None for area in got] == [False, False, True, True, True]
    assert aupimo(masks, maps, BOUNDS) == pytest.approx(np.mean(got[:2]))


def test_by_hand():
    good = np.zeros((10, 10))
    good.flat[:4] = [9.0, 7.0, 5.0, 3.0]
    mask = np.ones((1, 2), bool)
    # Up to a rate of 0.02 half of the defect lies above the good score that comes next (5), and from 0.03 on all.
    got = aupimo([np.zeros((10, 10), bool), mask], [good, np.array([[8.0, 4.0]])], (0.01, 0.04))
    expected = 0.5 * math.log(3) + 1.0 * math.log(4 / 3)
    assert got == pytest.approx(expected / math.log(4))


def test_only_good_images_decide_the_rate():
    masks, maps = draw()
    before = aupimo(masks, maps, BOUNDS)
    maps[0][~masks[0]] = 100.0
    assert aupimo(masks, maps, BOUNDS) == before


def test_a_rising_transform_changes_nothing():
    masks, maps = draw()
    assert aupimo(masks, [np.exp(scores) for scores in maps], BOUNDS) == pytest.approx(aupimo(masks, maps, BOUNDS))


def test_perfect_worst_and_constant_maps():
    masks = [np.zeros((20, 20), bool), np.eye(20, dtype=bool)]
    good = np.random.default_rng(0).random((20, 20))
    assert aupimo(masks, [good, masks[1] * 2.0], BOUNDS) == 1.0
    assert aupimo(masks, [good, masks[1] * -2.0], BOUNDS) == 0.0
    assert aupimo(masks, [np.zeros((20, 20))] * 2, BOUNDS) == 0.0


def test_none_without_good_images_without_defects_and_with_too_few_pixels():
    mask, scores = np.eye(20, dtype=bool), np.ones((20, 20))
    assert aupimo([mask], [scores], BOUNDS) is None
    assert aupimo([~np.ones((20, 20), bool)], [scores], BOUNDS) is None
    assert aupimo([mask, mask & False], [scores, scores]) is None  # 400 pixels cannot show a rate of 1e-5
    assert aupimo_of_images([mask, mask & False], [scores, scores]) == [None, None]
    assert aupimo([], []) is None


@pytest.mark.parametrize("bounds", [(0.0, 0.1), (0.2, 0.1), (0.1, 0.1), (0.1, 2.0), (float("nan"), 0.1)])
def test_bounds_must_be_rising_rates(bounds):
    with pytest.raises(HarmoniadError, match="fpr_bounds must be rising"):
        aupimo([np.eye(3, dtype=bool)], [np.eye(3)], bounds)


def test_bad_input_is_named():
    with pytest.raises(HarmoniadError, match="got 2 masks, 1 maps"):
        aupimo([np.eye(3, dtype=bool)] * 2, [np.eye(3)])
    with pytest.raises(HarmoniadError, match="image 0: the anomaly map must be finite"):
        aupimo([np.eye(3, dtype=bool)], [np.full((3, 3), np.nan)])
