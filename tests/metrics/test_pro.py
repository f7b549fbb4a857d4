import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harmoniad.errors import HarmoniadError
from harmoniad.metrics import aupro


def flood_regions(mask):
    """Sets of pixels that touch each other by a side or a corner."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        region, edge = set(), {left.pop()}
        while edge:
            region |= edge
            edge = {(y + dy, x + dx) for y, x in edge for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= edge
        regions.append(region)
    return regions


def slow_aupro(masks, maps, limit=0.3):
    """The definition, threshold by threshold and region by region."""
    normal = [value for mask, scores in zip(masks, maps, strict=True) for value in scores[~mask]]
    regions = [
        [scores[pixel] for pixel in region]
        for mask, scores in zip(masks, maps, strict=True)
        for region in flood_regions(mask)
    ]
    if not normal or not regions:
        return None
    curve = [(0.0, 0.0)]
    for threshold in sorted({float(value) for scores in maps for value in scores.flat}, reverse=True):
        fpr = sum(value >= threshold for value in normal) / len(normal)
        overlaps = [sum(value >= threshold for value in region) / len(region) for region in regions]
        curve.append((fpr, sum(overlaps) / len(overlaps)))
    return area_below(curve, limit)


def slow_official_aupro(masks, maps, limit):
    """As the published code of MVTec does it, threshold by threshold."""
    normal = sorted(value for mask, scores in zip(masks, maps, strict=True) for value in scores[~mask])
    regions = [
        [scores[pixel] for pixel in region]
        for mask, scores in zip(masks, maps, strict=True)
        for region in flood_regions(mask)
    ]
    if not normal or not regions:
        return None
    curve = [(1.0, 1.0)]
    for position in np.linspace(0, len(normal) - 1, num=100, dtype=int):
        covered = [sum(value > normal[position] for value in region) / len(region) for region in regions]
        curve.append((1 - (position + 1) / len(normal), sum(covered) / len(covered)))
    return area_below(curve[::-1], limit)


def area_below(curve, limit):
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        elif x0 < limit:
            at_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + at_limit) / 2
    return area / limit


@st.composite
def small_maps(draw):
    count = draw(st.integers(1, 4))
    shape = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    masks = draw(hnp.arrays(bool, (count, *shape)))
    ranks = draw(hnp.arrays(np.int64, (count, *shape), elements=st.integers(0, 9)))
    return masks, ranks


@settings(deadline=None)
@given(small_maps(), st.sampled_from([0.05, 0.3, 1.0]))
def test_equals_the_definition(case, limit):
    masks, maps = case
    assert aupro(masks, maps, limit) == pytest.approx(slow_aupro(masks, maps, limit), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(small_maps(), st.sampled_from([0.05, 0.3, 1.0]))
def test_the_official_variant_equals_the_published_code(case, limit):
    masks, maps = case
    got = aupro(masks, maps, limit, variant="mvtec")
    assert got == pytest.approx(slow_official_aupro(masks, maps, limit), abs=1e-9)


@pytest.mark.parametrize(("limit", "apart"), [(0.05, 0.02), (0.3, 0.005)])
def test_the_official_variant_is_near_the_exact_one_but_not_the_same(limit, apart):
    rng = np.random.default_rng(1)
    masks = rng.random((6, 40, 40)) < 0.02
    maps = rng.normal(2.0 * masks, 1.0).astype(np.float32)
    exact, official = aupro(masks, maps, limit), aupro(masks, maps, limit, variant="mvtec")
    assert official == pytest.approx(slow_official_aupro(masks, maps, limit), abs=1e-9)
    assert official == pytest.approx(exact, abs=apart)
    assert official != pytest.approx(exact, abs=1e-5)


def test_an_unknown_variant_is_refused():
    with pytest.raises(HarmoniadError, match='variant must be "exact" or "mvtec", not \'fast\''):
        aupro([np.eye(3, dtype=bool)], [np.eye(3)], variant="fast")


@settings(deadline=None)
@given(small_maps(), st.sets(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=10, max_size=10))
def test_a_rising_transform_changes_nothing(case, values):
    masks, ranks = case
    transform = np.array(sorted(values), dtype=np.float32)
    assert aupro(masks, transform[ranks]) == aupro(masks, ranks)


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_equals_the_definition_on_skewed_scores(limit):
    rng = np.random.default_rng(1)
    masks = rng.random((6, 16, 16)) < 0.05
    masks[:3] = False
    maps = rng.lognormal(-5 + masks, 1.5).astype(np.float32)
    assert aupro(masks, maps, limit) == pytest.approx(slow_aupro(masks, maps, limit), abs=1e-12)


def test_pixels_that_touch_by_a_corner_are_one_region():
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = mask[1, 1] = mask[3, 3] = True  # a region of two pixels and a region of one
    scores = np.zeros((4, 4))
    scores[3, 3] = 2.0  # found without a false positive
    # At once half of the regions is covered. Then 13 normal pixels and the other region come together, so that up to
    # the limit the overlap rises from 0.5 to 0.5 + 0.5 * 0.3.
    assert aupro([mask], [scores]) == pytest.approx((0.5 + 0.65) / 2)


def test_each_region_weighs_the_same():
    mask = np.zeros((8, 8), bool)
    mask[:4, :4] = mask[7, 7] = True
    found_large, found_small = np.zeros((8, 8)), np.zeros((8, 8))
    found_large[:4, :4] = found_small[7, 7] = 1.0
    assert aupro([mask], [found_large]) == aupro([mask], [found_small]) == pytest.approx(0.575)


def test_interpolates_at_the_limit():
    mask = np.array([[True, False, False]])
    scores = np.array([[1.0, 2.0, 0.0]])  # curve: (0, 0), (0.5, 0), (0.5, 1), (1, 1)
    assert aupro([mask], [scores], 0.3) == 0.0
    assert aupro([mask], [scores], 0.5) == 0.0
    assert aupro([mask], [scores], 0.8) == pytest.approx(0.3 / 0.8)
    assert aupro([mask], [scores], 1.0) == pytest.approx(0.5)


def test_perfect_and_constant_maps():
    mask = np.zeros((10, 10), bool)
    mask[2:4, 2:4] = True
    assert aupro([mask], [mask.astype(np.float32)]) == 1.0
    assert aupro([mask], [np.full((10, 10), -3.0)]) == pytest.approx(0.15)  # the diagonal up to 0.3


def test_normal_pixels_of_good_images_count():
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = True
    scores = mask.astype(float)
    good = np.full((4, 4), 2.0)
    assert aupro([mask], [scores]) == 1.0
    assert aupro([mask, np.zeros((4, 4), bool)], [scores, good]) == 0.0  # 16 of 31 are above the defect


def test_none_without_defects_without_normal_pixels_and_without_images():
    scores = [np.ones((3, 3))]
    assert aupro([np.zeros((3, 3), bool)], scores) is None
    assert aupro([np.ones((3, 3), bool)], scores) is None
    assert aupro([], []) is None


def test_images_of_different_size_and_masks_of_255():
    masks = [np.zeros((3, 5), np.uint8), np.zeros((7, 2), np.uint8)]
    masks[0][1, 1] = 255
    maps = [np.random.default_rng(2).random(mask.shape) for mask in masks]
    assert aupro(masks, maps) == pytest.approx(slow_aupro([mask > 0 for mask in masks], maps), abs=1e-12)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1, float("nan")])
def test_the_limit_must_be_a_rate(limit):
    with pytest.raises(HarmoniadError, match="fpr_limit must be above 0 and at most 1"):
        aupro([np.eye(3, dtype=bool)], [np.eye(3)], limit)


@pytest.mark.parametrize(
    ("masks", "maps", "message"),
    [
        ([np.eye(3, dtype=bool)] * 2, [np.eye(3)], "got 2 masks, 1 maps"),
        ([np.eye(3, dtype=bool)] * 2, [np.eye(3), np.eye(4)], r"image 1: the mask has shape \(3, 3\)"),
        ([np.eye(3, dtype=bool)], [np.eye(3)[None]], r"image 0: the anomaly map must have the shape \(H, W\)"),
        ([np.eye(3)], [np.eye(3)], "image 0: the mask must be boolean"),
        ([np.eye(3, dtype=bool)], [np.full((3, 3), np.inf)], "image 0: the anomaly map must be finite"),
    ],
)
def test_bad_input_is_named(masks, maps, message):
    with pytest.raises(HarmoniadError, match=message):
        aupro(masks, maps)
