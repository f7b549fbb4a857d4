from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harmoniad.report.gallery import Panel, panels_of, worst_first
from harmoniad.report.heatmap import Scale
from harmoniad.report.plots import pro_curves
from harmoniad.report.tables import METRICS

IMAGES = [("good", 0.25), ("good", 0.7), ("dent", 0.9), ("dent", 0.8), ("hole", 0.1), ("hole", 0.3), ("hole", 0.6)]


@pytest.fixture(scope="session")
def make_evaluation() -> Callable[..., tuple[Any, ...]]:
    """Make what `write_report` takes: two missed defects and a false alarm a category at a threshold of 0.5."""

    def make(categories: tuple[str, ...] = ("bottle",), repeat: int = 1, side: int = 40) -> tuple[Any, ...]:
        rows = []
        for category in categories:
            rows += [
                (f"data/{category}/test/{defect}/{number}-{place}.png", category, "test", defect, score)
                for number in range(repeat)
                for place, (defect, score) in enumerate(IMAGES)
            ]
            rows.append((f"data/{category}/train/good/0.png", category, "held_out", "good", 99.0))
        scores = pd.DataFrame(rows, columns=["path", "category", "split", "defect", "score"])
        scores = scores.assign(
            label=np.where(scores["defect"] == "good", "good", "defect"),
            threshold=0.5,
            is_anomalous=scores["score"] > 0.5,
            defect_share=scores["defect"].map({"good": 0.0, "dent": 0.02, "hole": 0.0005}),
            heatmap="",
        )
        figures = dict.fromkeys(METRICS, 0.91234) | {"aupro": None, "image_auroc_low": 0.85, "image_auroc_high": 0.99}
        metrics = {
            "mean": figures,
            "categories": dict.fromkeys(categories, figures),
            "encoder": "timm:tiny",
            "weights": "embedded",
            "detector": "harmoniad",
            "resolution": 256,
            "data_fingerprint": "1234abcd",
            "test_fingerprint": "5678ef00",
            "seed": 3,
        }
        threshold = {
            "false_positive_rate": 0.05,
            "held_out_images": {categories[0]: 19, categories[-1]: 20},
            "normal_level": 0.1,
        }
        pro = pro_curves({name: (np.array([0, 0.1, 0.3]), np.array([0, 0.8, 0.9])) for name in categories})
        return metrics, threshold, scores, pro, _panels(scores, side)

    return make


def _panels(scores: pd.DataFrame, side: int) -> dict[int, list[Panel]]:
    generator = np.random.default_rng(0)
    photo = generator.normal(120, 12, (side, side, 3)).astype(np.uint8)
    mask = np.zeros((side, side), bool)
    mask[side // 4 : side // 2, side // 4 : side // 2] = True
    panels: dict[int, list[Panel]] = {}
    drawn: dict[tuple[str, float], list[Panel]] = {}
    for position in worst_first(scores, 0.1, len(scores)):
        row = scores.iloc[position]
        key = (row["label"], row["score"])
        if key not in drawn:
            heat = np.full((side, side), row["score"], np.float32)
            marked = mask if row["label"] == "defect" else None
            drawn[key] = panels_of(photo, heat, marked, scale=Scale(0.1, 0.5), longest_side=side)
        panels[position] = [_another(panel, position) for panel in drawn[key]]
    return panels


def _another(panel: Panel, number: int) -> Panel:
    """The same picture in another file, so that no browser takes one for all: what follows the end is not read."""
    return replace(panel, data=b64encode(b64decode(panel.data) + number.to_bytes(4)).decode())
