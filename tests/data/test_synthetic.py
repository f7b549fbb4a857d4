import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from harmoniad.data.synthetic import VISIBLE, add_defect

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(64, 256)


def constant(side: int, grey: int) -> np.ndarray:
    return np.full((side, side, 3), grey, np.uint8)


def part(side: int) -> np.ndarray:
    """A grained brown disc with a hole, on a dark table."""
    image = Image.new("RGB", (side, side), (30, 32, 36))
    draw = ImageDraw.Draw(image)
    draw.ellipse((0.1 * side, 0.1 * side, 0.9 * side, 0.9 * side), (170, 130, 80))
    draw.ellipse((0.4 * side, 0.4 * side, 0.6 * side, 0.6 * side), (30, 32, 36))
    grain = np.random.default_rng(0).normal(0, 5, (side, side, 1))
    return np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)


def change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.abs(after.astype(float) - before).mean(axis=2)


def assert_sound(image: np.ndarray, seed: int) -> None:
    before = image.copy()
    result, mask = add_defect(image, seed)
    assert np.array_equal(image, before)
    assert result.shape == image.shape and result.dtype == np.uint8
    assert mask.shape == image.shape[:2] and mask.dtype == bool
    changed = change(image, result)
    assert mask.sum() >= 4
    assert (changed[mask] > VISIBLE).mean() > 0.5
    assert changed[~mask].max() <= VISIBLE


@given(seed=SEEDS, side=SIDES, grey=st.sampled_from((0, 1, 100, 127, 128, 254, 255)))
@settings(max_examples=150, deadline=None)
def test_a_defect_on_a_plain_image(seed: int, side: int, grey: int) -> None:
    assert_sound(constant(side, grey), seed)


@given(seed=SEEDS, side=SIDES)
@settings(max_examples=150, deadline=None)
def test_a_defect_on_a_part(seed: int, side: int) -> None:
    assert_sound(part(side), seed)


@given(seed=SEEDS, side=SIDES)
@settings(max_examples=50, deadline=None)
def test_a_defect_on_pure_noise(seed: int, side: int) -> None:
    assert_sound(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8), seed)


@pytest.mark.parametrize("seed", range(20))
def test_the_same_image_and_seed_give_the_same_defect(seed: int) -> None:
    first, second = add_defect(part(128), seed), add_defect(part(128), seed)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_seeds_give_different_defects() -> None:
    assert len({add_defect(part(128), seed)[0].tobytes() for seed in range(50)}) == 50


def test_defects_of_a_grey_image_are_grey() -> None:
    image = part(128)[..., :1].repeat(3, axis=2)
    for seed in range(60):
        assert np.ptp(add_defect(image, seed)[0], axis=2).max() <= 1


def test_defects_prefer_the_part() -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    image[48:80, 48:80] = 150  # a sixteenth of the image
    places = [np.argwhere(add_defect(image, seed)[1]).mean(axis=0) for seed in range(200)]
    on_part = [bool(((place > 44) & (place < 84)).all()) for place in places]
    assert 0.35 < np.mean(on_part) < 0.9


def test_defects_are_tiny_to_large_and_faint_to_plain() -> None:
    image = part(256)
    areas, contrasts = [], []
    for seed in range(200):
        result, mask = add_defect(image, seed)
        areas.append(mask.mean())
        contrasts.append(change(image, result)[mask].mean())
    assert np.mean(np.array(areas) < 0.0006) > 0.05
    assert np.mean(np.array(areas) > 0.01) > 0.1
    assert 0.001 < np.median(areas) < 0.01
    assert max(areas) < 0.1
    assert np.mean(np.array(contrasts) < 15) > 0.1
    assert np.mean(np.array(contrasts) > 50) > 0.05
