import numpy as np
import pytest
from PIL import Image

from harmoniad.report import heatmap
from harmoniad.report.heatmap import GAP, LABEL_HEIGHT, LONGEST_SIDE, Caption, Scale, draw, save

SCALE = Scale(normal_level=1.0, threshold=3.0)
CAPTION = Caption("bottle", "scratch", 3.5, 3.0, True)
GREY = 120


def grey_image(height: int = 384, width: int = 384) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def constant_map(value: float, shape: tuple[int, int] = (384, 384)) -> np.ndarray:
    return np.full(shape, value, np.float32)


def panel(picture: np.ndarray, number: int) -> np.ndarray:
    left = GAP + number * (384 + GAP)
    return picture[LABEL_HEIGHT : LABEL_HEIGHT + 384, left : left + 384]


def heat(value: float) -> np.ndarray:
    """The colour that a value gets on grey."""
    picture = draw(grey_image(), constant_map(value), None, scale=SCALE, caption=CAPTION)
    return panel(picture, 1)[200, 200].astype(int)


def test_positions_on_the_scale_by_hand() -> None:
    values = np.array([0, 1, 2, 3, 4, 5], np.float32)
    np.testing.assert_allclose(SCALE.positions(values), [-0.5, 0, 0.5, 1, 1.5, 2])


def test_an_image_below_the_normal_level_stays_as_it_is() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (384, 384, 3), dtype=np.uint8)
    values = np.random.default_rng(1).uniform(-5, 1, (384, 384)).astype(np.float32)
    picture = draw(photo, values, None, scale=SCALE, caption=CAPTION)
    np.testing.assert_array_equal(panel(picture, 0), photo)
    np.testing.assert_array_equal(panel(picture, 1), photo)


def test_the_same_value_has_the_same_colour_whatever_else_is_in_the_image() -> None:
    calm, alarming = constant_map(1.2), constant_map(1.2)
    calm[:, :100], alarming[:, :100] = 2.0, 2.0
    alarming[:, 300:] = 50.0  # with a scale of its own this image would turn everything else pale
    first = draw(grey_image(), calm, None, scale=SCALE, caption=CAPTION)
    second = draw(grey_image(), alarming, None, scale=SCALE, caption=CAPTION)
    np.testing.assert_array_equal(panel(first, 1)[:, :298], panel(second, 1)[:, :298])


def test_a_good_part_is_never_warm() -> None:
    for value in np.linspace(-1, 2.999, 9):
        red, _, blue = heat(float(value))
        assert red <= GREY <= blue


def test_the_colour_jumps_to_yellow_at_the_threshold_and_ends_in_red() -> None:
    below, at, far_above = heat(2.999), heat(3.0), heat(5.0)
    assert np.abs(at - below).max() > 80
    assert at[0] > 180
    assert at[1] > 170
    assert at[2] < 60
    assert far_above[0] > 180
    assert max(far_above[1:]) < 60
    np.testing.assert_array_equal(heat(500.0), far_above)
    np.testing.assert_array_equal(heat(np.inf), far_above)


def test_opacity_and_warmth_only_grow() -> None:
    strength = [np.abs(heat(value) - GREY).sum() for value in np.linspace(1, 3, 9, endpoint=False)]
    assert strength == sorted(strength)
    assert strength[0] == 0 < strength[-1]
    green = [heat(value)[1] for value in np.linspace(3, 5, 9)]
    assert green == sorted(green, reverse=True)


@pytest.mark.parametrize("scale", [Scale(3.0, 3.0), Scale(4.0, 3.0), Scale(0.0, 0.0)])
def test_a_threshold_below_the_normal_level_still_parts_calm_from_red(scale: Scale) -> None:
    values = constant_map(scale.threshold - 0.5)
    values[:, 200:] = scale.threshold + 0.5
    picture = panel(draw(grey_image(), values, None, scale=scale, caption=CAPTION), 1)
    assert (picture[:, :190] == GREY).all()
    np.testing.assert_array_equal(picture[100, 300], heat(5.0))


def test_a_contour_runs_just_outside_what_reaches_the_threshold() -> None:
    values = constant_map(0)
    values[100:200, 100:200] = 3.0
    picture = panel(draw(grey_image(), values, None, scale=SCALE, caption=CAPTION), 1)
    contour = (picture == heatmap._CONTOUR).all(axis=-1)
    expected = np.zeros((384, 384), bool)
    expected[99:201, 99:201] = True
    expected[100:200, 100:200] = False
    np.testing.assert_array_equal(contour, expected)


def test_without_a_mask_there_are_two_panels_and_with_one_three() -> None:
    mask = np.zeros((384, 384), bool)
    shapes = []
    for marked in (None, mask, ~mask):
        picture = draw(grey_image(), constant_map(0), marked, scale=SCALE, caption=CAPTION)
        shapes.append(picture.shape[1])
    assert shapes == [2 * (384 + GAP) + GAP, 2 * (384 + GAP) + GAP, 3 * (384 + GAP) + GAP]


def test_the_outline_lies_outside_the_marked_defect() -> None:
    mask = np.zeros((384, 384), bool)
    mask[100:200, 100:200] = True
    picture = panel(draw(grey_image(), constant_map(9), mask, scale=SCALE, caption=CAPTION), 2)
    assert (picture[100:200, 100:200] == GREY).all()
    assert (picture[98:100, 98:202] == heatmap._OUTLINE).all()
    assert (picture[97, 97:203] == heatmap._HALO).all()
    assert (picture[:97] == GREY).all()


@pytest.mark.parametrize("place", [(0, 0), (1999, 1999), (1000, 1201)])
def test_a_defect_of_one_pixel_in_a_large_image_is_outlined(place: tuple[int, int]) -> None:
    mask = np.zeros((2000, 2000), bool)
    mask[place] = True
    picture = draw(grey_image(2000, 2000), constant_map(0, (2000, 2000)), mask, scale=SCALE, caption=CAPTION)
    assert (panel(picture, 2) == heatmap._OUTLINE).all(axis=-1).any()


@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (1, 1), (32, 2000), (2000, 32), (500, 700), (1500, 2000), (1, 2000), (2000, 1)]
)
def test_images_of_any_size(height: int, width: int) -> None:
    mask = np.ones((height, width), bool)
    picture = draw(grey_image(height, width), constant_map(9, (height, width)), mask, scale=SCALE, caption=CAPTION)
    assert picture.dtype == np.uint8
    assert 50 < picture.shape[0] < 1300
    assert 500 < picture.shape[1] < 1300
    assert (picture == heat(9.0)).all(axis=-1).any()


@pytest.mark.parametrize(("height", "width", "panel_size"), [(500, 1000, (384, 192)), (400, 1000, (768, 307))])
def test_panels_keep_their_proportions_and_strips_are_drawn_larger(
    height: int, width: int, panel_size: tuple[int, int]
) -> None:
    assert heatmap.panel_size(width, height, LONGEST_SIDE) == panel_size


def test_strips_lie_one_below_the_other() -> None:
    picture = draw(grey_image(100, 400), constant_map(9, (100, 400)), None, scale=SCALE, caption=CAPTION)
    assert (picture[LABEL_HEIGHT : LABEL_HEIGHT + 192, GAP : GAP + 768] == GREY).all()
    lower = picture[2 * LABEL_HEIGHT + 192 : 2 * LABEL_HEIGHT + 384, GAP : GAP + 768]
    assert (lower == heat(9.0)).all()


def test_a_map_of_another_size_is_stretched_over_the_image() -> None:
    values = np.zeros((2, 2), np.float32)
    values[1, 1] = 9
    picture = panel(draw(grey_image(), values, None, scale=SCALE, caption=CAPTION), 1)
    np.testing.assert_array_equal(picture[-1, -1], heat(9.0))
    assert (picture[:90, :90] == GREY).all()


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        draw(grey_image(), constant_map(np.nan), None, scale=SCALE, caption=CAPTION)


@pytest.mark.parametrize(
    ("defect", "is_anomalous", "verdict"),
    [
        ("good", False, "good part passed"),
        ("good", True, "false alarm"),
        ("scratch", True, "defect found"),
        ("scratch", False, "missed defect"),
        ("", True, "flagged"),
        ("", False, "passed"),
    ],
)
def test_verdicts(defect: str, is_anomalous: bool, verdict: str) -> None:
    assert Caption("bottle", defect, 1, 2, is_anomalous).verdict == verdict


def test_the_caption_is_below_the_pictures_and_says_the_score() -> None:
    def with_score(score: float) -> np.ndarray:
        caption = Caption("bottle", "scratch", score, 3.0, True)
        return draw(grey_image(), constant_map(9), None, scale=SCALE, caption=caption)

    differing = (with_score(3.5) != with_score(3.6)).any(axis=(1, 2))
    assert differing.any()
    assert not differing[: -heatmap.CAPTION_HEIGHT].any()


@pytest.mark.parametrize("name", ["n" * 500, "line\nbreak\x1b[31m", "größe 轴承", ""])
def test_any_name_leaves_score_and_verdict_readable(name: str) -> None:
    odd = draw(grey_image(), constant_map(0), None, scale=SCALE, caption=Caption(name, "scratch", 3.5, 3.0, True))
    plain = draw(grey_image(), constant_map(0), None, scale=SCALE, caption=CAPTION)
    np.testing.assert_array_equal(odd[:, -300:], plain[:, -300:])


def test_a_saved_picture_is_the_same_every_time(tmp_path) -> None:
    folder = tmp_path / "with space ü"
    mask = np.zeros((384, 384), bool)
    mask[50:60, 50:60] = True
    for _ in range(2):  # the second time it replaces a file
        for name in ("a.png", "b.png"):
            save(folder / name, draw(grey_image(), constant_map(2), mask, scale=SCALE, caption=CAPTION))
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()
    assert sorted(file.name for file in folder.iterdir()) == ["a.png", "b.png"]
    picture = draw(grey_image(), constant_map(2), mask, scale=SCALE, caption=CAPTION)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "a.png")), picture)
