import numpy as np
import pytest
import torch
from scipy import ndimage

from harmoniad.errors import HarmoniadError
from harmoniad.scoring import ImageScore, Threshold, calibrate, resize_map

PLAIN = ImageScore(top_share=0.01, smoothing_kernel=1, smoothing_sigma=1.0)


def test_the_image_score_is_the_mean_of_the_highest_pixels() -> None:
    maps = torch.arange(200.0).view(2, 10, 10)
    assert ImageScore(0.03, 1, 1.0)(maps).tolist() == [98.0, 198.0]  # the mean of 97, 98, 99
    assert ImageScore(0.001, 1, 1.0)(maps).tolist() == [99.0, 199.0]  # one pixel at least
    assert ImageScore(1.0, 1, 1.0)(maps).tolist() == [49.5, 149.5]


def test_smoothing_is_scipys_gaussian() -> None:
    tokens = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    smooth = ImageScore(0.01, 5, 4.0).pixel_maps(tokens, 16)
    expected = [ndimage.gaussian_filter(image, 4.0, radius=2, mode="mirror") for image in tokens.numpy()]
    np.testing.assert_allclose(smooth.numpy(), np.stack(expected), rtol=1e-5)


def test_scores_are_raw() -> None:
    tokens = torch.full((1, 4, 4), -7.5)
    maps = ImageScore(0.01, 5, 4.0).pixel_maps(tokens, 32)
    assert maps.shape == (1, 32, 32)
    assert torch.allclose(maps, torch.tensor(-7.5))


def test_a_map_takes_the_size_of_its_image() -> None:
    assert resize_map(torch.zeros(32, 32), 20, 50).shape == (20, 50)


def test_the_threshold_lets_no_larger_share_pass() -> None:
    scores = [float(value) for value in range(20)]
    found = calibrate(scores, ["a"] * 20, false_positive_rate=0.1, normal_level=0.5, image_score=PLAIN)
    assert found.joint == 17.0  # 18 and 19 lie above: 2 of 20


def test_few_images_leave_room_for_what_was_not_seen() -> None:
    scores = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = calibrate(scores, ["a"] * 5, false_positive_rate=0.05, normal_level=0, image_score=PLAIN)
    # t(4) at 95 % is 2.1318 in every table; s is the square root of 2.5.
    assert found.joint == pytest.approx(3 + 2.1318 * 2.5**0.5 * 1.2**0.5, abs=1e-3)
    skewed = calibrate([0.0] * 9 + [100.0], ["a"] * 10, false_positive_rate=0.05, normal_level=0, image_score=PLAIN)
    assert skewed.joint == 100.0  # never below what was seen
    alone = calibrate([7.0], ["a"], false_positive_rate=0.05, normal_level=0, image_score=PLAIN)
    assert alone.joint == 7.0


def test_the_promised_rate_holds_on_new_parts() -> None:
    generator = np.random.default_rng(0)
    rates = []
    for _ in range(400):
        seen, new = generator.normal(5, 2, 10), generator.normal(5, 2, 200)
        found = calibrate(seen.tolist(), ["a"] * 10, false_positive_rate=0.05, normal_level=0, image_score=PLAIN)
        rates.append((new > found.joint).mean())
    assert 0.03 < np.mean(rates) < 0.06


def test_each_category_has_its_threshold() -> None:
    found = calibrate([1, 2, 10, 20], list("aabb"), false_positive_rate=0.5, normal_level=0, image_score=PLAIN)
    assert (found.of("a"), found.of("b"), found.of(None), found.of("new")) == (1.0, 10.0, 2.0, 2.0)
    assert found.held_out_images == {"a": 2, "b": 2}
    assert Threshold.from_dict(found.to_dict()) == found


def test_without_held_out_images_there_is_no_threshold() -> None:
    with pytest.raises(HarmoniadError, match="no held-out good images"):
        calibrate([], [], false_positive_rate=0.05, normal_level=0, image_score=PLAIN)
