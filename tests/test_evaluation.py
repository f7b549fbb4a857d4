from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harmoniad.evaluation import METRIC_NAMES, CategoryMetrics, shrink_mask, shrunk_size


def row(category: str, label: str, mask: Path | str = "", area: int = 0) -> dict[str, object]:
    return {
        "path": f"{category}-{label}.png",
        "category": category,
        "label": label,
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
    assert found["categories"]["a"] == dict.fromkeys(METRIC_NAMES, pytest.approx(1.0))
    assert found["mean"] == found["categories"]["a"]


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
    assert found["categories"]["only good"] == dict.fromkeys(METRIC_NAMES)
    assert found["mean"]["image_auroc"] == 1.0


def test_a_small_defect_survives_shrinking() -> None:
    assert shrunk_size(3000, 2000, 1000) == (1000, 667)
    assert shrunk_size(30, 20, 1000) == (30, 20)
    big = np.zeros((3000, 2000), bool)
    big[1234, 777] = True
    small = shrink_mask(big, 1000, 667)
    assert np.argwhere(small).tolist() == [[411, 259]]
    assert shrink_mask(small, 1000, 667) is small
