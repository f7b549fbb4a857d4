import numpy as np
import pandas as pd
import pytest

from harmoniad.report.gallery import MAX_PIXELS, PANELS, group_images, longest_side, panels_of, worst_first
from harmoniad.report.heatmap import LONGEST_SIDE, Scale, small_panels


def table(*rows: tuple[str, float, float]) -> pd.DataFrame:
    """Test images of (label, score, threshold)."""
    return pd.DataFrame(
        [
            {
                "path": f"{number}.png",
                "category": f"threshold {threshold}",
                "split": "test",
                "label": label,
                "defect": label,
                "score": score,
                "threshold": threshold,
                "is_anomalous": score > threshold,
            }
            for number, (label, score, threshold) in enumerate(rows)
        ]
    )


SCORES = table(
    ("good", 0.5, 1.0),  # 0 passed, half the way below
    ("defect", 1.1, 1.0),  # 1 found, closely
    ("good", 1.3, 1.0),  # 2 false alarm by 0.3
    ("defect", 0.8, 1.0),  # 3 missed by 0.2
    ("defect", 5.0, 10.0),  # 4 missed by 0.5 of its own scale, not by 5
    ("good", 19.0, 10.0),  # 5 false alarm by 0.9
    ("defect", 9.0, 10.0),  # 6 missed by 0.1
    ("good", 9.99, 10.0),  # 7 passed, very closely
)


def test_the_order_by_hand() -> None:
    assert worst_first(SCORES, 0.0, 100) == [4, 3, 6, 5, 2, 7, 1, 0]


def test_where_the_limit_cuts_each_group_gives_in_turn() -> None:
    assert worst_first(SCORES, 0.0, 3) == [4, 5, 7]
    assert worst_first(SCORES, 0.0, 5) == [4, 3, 5, 2, 7]
    assert worst_first(SCORES, 0.0, 0) == []


def test_held_out_images_are_not_shown() -> None:
    scores = SCORES.assign(split=["held_out", "test"] * 4)
    assert worst_first(scores, 0.0, 100) == [3, 5, 7, 1]


def test_groups_tell_how_many_there_are_and_where_each_image_lies() -> None:
    panel = panels_of(
        np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), None, scale=Scale(0, 1), longest_side=4
    )
    missed, right = group_images(SCORES, 0.0, {0: panel, 4: panel, 3: panel})
    assert (missed.name, missed.total, [image["path"] for image in missed.images]) == (
        "missed defect", 3, ["4.png", "3.png"],
    )  # fmt: skip
    assert [image["place"] for image in missed.images] == pytest.approx([0.5, 0.8])
    assert (right.name, right.total) == ("nearest to the threshold", 3)
    assert right.images[0]["panels"] == panel


def test_the_more_pictures_the_smaller() -> None:
    assert longest_side(0) == longest_side(20) == LONGEST_SIDE
    assert 150 < longest_side(500) < longest_side(250) < LONGEST_SIDE
    for images in (100, 500, 2000):
        assert images * PANELS * longest_side(images) ** 2 <= MAX_PIXELS


def test_a_single_hot_pixel_of_a_large_map_stays_visible() -> None:
    photo = np.full((1000, 1000, 3), 120, np.uint8)
    heat = np.zeros((1000, 1000), np.float32)
    heat[503, 507] = 9
    mask = heat > 0
    panels = dict(small_panels(photo, heat, mask, scale=Scale(0, 1), longest_side=100))
    assert {panel.shape for panel in panels.values()} == {(100, 100, 3)}
    red, _, blue = panels["anomaly map"][50, 50].astype(int)
    assert red > blue + 80
    assert (panels["anomaly map"][:40] == 120).all()
    assert (panels["marked defect"] != panels["image"]).any()


def test_a_map_is_drawn_on_the_same_scale_whatever_else_is_in_it() -> None:
    photo = np.full((64, 64, 3), 120, np.uint8)
    one, other = np.full((2, 64, 64), 0.5, np.float32)
    other[40:] = 50
    drawn = [dict(small_panels(photo, heat, None, scale=Scale(0, 1), longest_side=64)) for heat in (one, other)]
    assert (drawn[0]["anomaly map"][:30] == drawn[1]["anomaly map"][:30]).all()
