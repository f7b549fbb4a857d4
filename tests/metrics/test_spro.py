import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmoniad.errors import HarmoniadError
from harmoniad.metrics import SproMetrics, aupro, spro
from harmoniad.metrics.spro import spro_figures


def slow_spro(regions, maps, limit):
    """The definition, threshold by threshold and region by region."""
    normal = []
    for found, scores in zip(regions, maps, strict=True):
        anywhere = np.zeros(scores.shape, bool)
        for mask, _ in found:
            anywhere |= mask
        normal += list(scores[~anywhere])
    parts = [
        (scores[mask], saturation) for found, scores in zip(regions, maps, strict=True) for mask, saturation in found
    ]
    if not normal or not parts:
        return None
    curve = [(0.0, 0.0)]
    for threshold in sorted({float(value) for scores in maps for value in scores.flat}, reverse=True):
        rate = sum(value >= threshold for value in normal) / len(normal)
        covered = [min(np.count_nonzero(scores >= threshold) / saturation, 1.0) for scores, saturation in parts]
        curve.append((rate, sum(covered) / len(covered)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        elif x0 < limit:
            at_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + at_limit) / 2
    return area / limit


@st.composite
def cases(draw):
    """Few pixels with many ties; regions may overlap and lie in several pieces."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    regions, maps = [], []
    for _ in range(draw(st.integers(1, 4))):
        shape = tuple(rng.integers(2, 7, 2))
        masks = [rng.random(shape) < 0.3 for _ in range(rng.integers(0, 4))]
        regions.append([(mask, float(rng.choice([0.5, 1, 2, 2.5, 4, 50]))) for mask in masks if mask.any()])
        maps.append(rng.integers(-3, 6, shape).astype(np.float32))
    return regions, maps


@settings(deadline=None, max_examples=50)
@given(cases(), st.sampled_from([0.05, 0.3, 1.0]))
def test_equals_the_definition_in_one_pass_and_at_once(case, limit):
    regions, maps = case
    expected = slow_spro(regions, maps, limit)
    assert spro(regions, maps, limit) == pytest.approx(expected, abs=1e-12)
    metrics = SproMetrics(limit)
    for found, scores in zip(regions, maps, strict=True):
        metrics.update(found, scores)
    assert metrics.compute().get("defect") == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(cases())
def test_a_rising_transform_changes_nothing(case):
    regions, maps = case
    assert spro(regions, [np.exp(scores) - 50 for scores in maps]) == spro(regions, maps)


def test_by_hand():
    mask = np.zeros((1, 24), bool)
    mask[0, :4] = True
    scores = np.zeros((1, 24))
    scores[0, :4] = [9, 9, 5, 1]
    scores[0, 4] = 3  # a false positive: a rate of 1 / 20
    # Two pixels of four are found at once. Saturated at two, that is all; at four it is half, three before the first
    # false positive, and beyond a rate of 0.05 it does not matter.
    assert spro([[(mask, 2)]], [scores]) == pytest.approx(1.0)
    assert spro([[(mask, 4)]], [scores]) == pytest.approx(0.75)
    assert spro([[(mask, 3)]], [scores]) == pytest.approx(1.0)
    assert spro([[(mask, 8)]], [scores]) == pytest.approx(3 / 8)  # never saturated


def test_saturated_at_the_areas_of_connected_regions_it_is_aupro():
    rng = np.random.default_rng(0)
    mask = np.zeros((20, 20), bool)
    mask[2:5, 2:5] = True
    other = np.zeros((20, 20), bool)
    other[10:12, 3:9] = True
    maps = [rng.normal(1.0 * (mask | other), 1.0), rng.normal(size=(20, 20))]
    regions = [[(mask, 9), (other, 12)], []]
    assert spro(regions, maps, 0.3) == pytest.approx(aupro([mask | other, mask & other], maps, 0.3), abs=1e-12)


def test_each_kind_is_measured_with_all_good_images():
    rng = np.random.default_rng(1)
    images = []
    for index in range(9):
        mask = np.zeros((16, 16), bool)
        mask[3:7, 2:9] = True
        kind = ("structural", "logical", "")[index % 3]
        images.append(([(mask, 10)] if kind else [], rng.normal(mask * bool(kind) * 2.0, 1.0), kind))
    first, second = SproMetrics(), SproMetrics()
    for index, (regions, scores, kind) in enumerate(images):
        (first if index < 4 else second).update(regions, scores.astype(np.float32), kind)
    first.merge(second)
    got = first.compute()
    for kind in ("structural", "logical"):
        chosen = [(regions, scores) for regions, scores, other in images if other in (kind, "")]
        assert got[kind] == pytest.approx(spro(*zip(*chosen, strict=True)), abs=1e-6)
    assert spro_figures(got)["spro"] == pytest.approx((got["structural"] + got["logical"]) / 2)
    assert set(spro_figures(got)) == {"spro", "spro_structural", "spro_logical"}


def test_none_without_regions_without_normal_pixels_and_without_images():
    full = np.ones((3, 3), bool)
    assert spro([[]], [np.ones((3, 3))]) is None
    assert spro([[(full, 2)]], [np.ones((3, 3))]) is None
    assert spro([], []) is None
    assert SproMetrics().compute() == {}
    assert spro_figures({}) == {"spro": None}


@pytest.mark.parametrize(
    ("regions", "scores", "message"),
    [
        ([(np.eye(3, dtype=bool), 0)], np.eye(3), "a.png: a saturation area must be above 0, not 0"),
        ([(np.eye(3, dtype=bool), np.nan)], np.eye(3), "a.png: a saturation area must be above 0"),
        ([(np.zeros((3, 3), bool), 1)], np.eye(3), "a.png: a region without a pixel"),
        ([(np.eye(4, dtype=bool), 1)], np.eye(3), r"a.png: the mask has shape \(4, 4\)"),
        ([], np.full((3, 3), np.nan), "a.png: the anomaly map must be finite"),
        ([], np.zeros(3), r"a.png: the anomaly map must have the shape \(H, W\)"),
    ],
)
def test_bad_input_is_refused_by_name(regions, scores, message):
    with pytest.raises(HarmoniadError, match=message):
        SproMetrics().update(regions, scores, name="a.png")


def test_counts_and_limits_must_fit():
    with pytest.raises(HarmoniadError, match="got 2 lists, 1 maps"):
        spro([[], []], [np.eye(3)])
    with pytest.raises(HarmoniadError, match="fpr_limit must be"):
        SproMetrics(5)
    with pytest.raises(HarmoniadError, match=r"fpr_limit 0\.05 and 0\.3"):
        SproMetrics().merge(SproMetrics(0.3))
