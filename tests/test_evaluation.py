from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harmoniad.evaluation import METRIC_NAMES, CategoryMetrics, shrink_mask, shrunk_size
from harmoniad.scoring import ImageScore, Threshold


def row(category: str, label: str, mask: Path | str = "", area: int = 0) -> dict[str, object]:
    return {
        "path": f"{category}-{label}.png",
        "category": category,
        "label": label,
        "defect": label,
        "mask": str(mask),
        "mask_area": area,
        "height": 8,
        "width": 8,
    }


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask ü.png"
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4, :4] = 255
    Image.fromarray(pixels).save(path)
    return path


def hot_corner() -> torch.Tensor:
    anomaly_map = torch.zeros(8, 8)
    anomaly_map[:4, :4] = 1
    return anomaly_map


def test_a_perfect_map_has_perfect_figures(mask: Path) -> None:
    metrics = CategoryMetrics(max_side=1024)
    metrics.update(row("a", "defect", mask, 16), 1.0, hot_corner())
    metrics.update(row("a", "good"), 0.0, torch.zeros(8, 8))
    found = metrics.compute()
    figures = found["categories"]["a"]
    assert {name: figures[name] for name in METRIC_NAMES} == dict.fromkeys(METRIC_NAMES, pytest.approx(1.0))
    assert figures["aupro_05"] == pytest.approx(1.0)
    assert figures["aupimo"] is None  # 64 pixels cannot show a rate of 1e-5
    assert (figures["image_auroc_low"], figures["image_auroc_high"]) == (pytest.approx(0.025), 1.0)
    assert list(figures)[:7] == list(METRIC_NAMES)
    assert found["mean"] == {name: value for name, value in figures.items() if not name.endswith(("_low", "_high"))}


def test_without_a_mask_an_image_counts_for_image_metrics_only(mask: Path) -> None:
    metrics = CategoryMetrics(max_side=1024)
    metrics.update(row("a", "good"), 0.0, torch.zeros(8, 8))
    metrics.update(row("a", "defect"), 1.0, hot_corner())
    figures = metrics.compute()["categories"]["a"]
    assert figures["image_auroc"] == 1.0
    assert [figures[name] for name in METRIC_NAMES if name.startswith("pixel") or name == "aupro"] == [None] * 4


def test_what_cannot_be_computed_is_none_and_stays_out_of_the_mean(mask: Path) -> None:
    metrics = CategoryMetrics(max_side=1024)
    metrics.update(row("a", "defect", mask, 16), 1.0, hot_corner())
    metrics.update(row("a", "good"), 0.0, torch.zeros(8, 8))
    metrics.update(row("only good", "good"), 0.0, torch.zeros(8, 8))
    found = metrics.compute()
    assert set(found["categories"]["only good"].values()) == {None}
    assert found["mean"]["image_auroc"] == 1.0


def test_at_the_threshold_of_the_line(mask: Path) -> None:
    threshold = Threshold(0.01, 9.0, {"a": 0.5}, {"a": 3}, 0.0, ImageScore(0.01, 1, 1.0))
    metrics = CategoryMetrics(1024, threshold)
    for score in (1.0, 0.7, 0.2, 0.3):
        metrics.update(row("a", "defect", mask, 16), score, hot_corner())
    metrics.update(row("a", "defect"), 1.0, hot_corner())  # its area is not known
    for score in (0.1, 0.6):
        metrics.update(row("a", "good"), score, torch.zeros(8, 8))
    figures = metrics.compute()["categories"]["a"]
    assert figures["recall"] == pytest.approx(3 / 5)
    assert figures["recall_low"] < 3 / 5 < figures["recall_high"]
    assert figures["false_positive_rate"] == 0.5
    assert figures["balanced_accuracy"] == pytest.approx(0.55)
    assert (figures["recall_tiny"], figures["recall_small"], figures["recall_large"]) == (None, None, 0.5)


def test_spro_where_regions_are_given(mask: Path) -> None:
    metrics = CategoryMetrics(max_side=4)  # half the size: a region of 16 pixels becomes 4, saturated at 2
    corner = hot_corner().numpy() > 0
    found = hot_corner()
    found[:, 2:] = 0
    metrics.update(row("a", "logical_anomalies", mask, 16) | {"label": "defect"}, 1.0, found, [(corner, 8)])
    metrics.update(row("a", "good"), 0.0, torch.zeros(8, 8), [])
    metrics.update(row("b", "defect", mask, 16), 1.0, found)
    metrics.update(row("b", "good"), 0.0, torch.zeros(8, 8))
    categories = metrics.compute()["categories"]
    assert categories["a"]["spro"] == categories["a"]["spro_logical"] == pytest.approx(1.0)
    assert categories["a"]["aupro"] < 1
    assert "spro" not in categories["b"]


def test_a_small_defect_survives_shrinking() -> None:
    assert shrunk_size(3000, 2000, 1000) == (1000, 667)
    assert shrunk_size(30, 20, 1000) == (30, 20)
    big = np.zeros((3000, 2000), bool)
    big[1234, 777] = True
    small = shrink_mask(big, 1000, 667)
    assert np.argwhere(small).tolist() == [[411, 259]]
    assert shrink_mask(small, 1000, 667) is small
