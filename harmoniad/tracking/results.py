"""What the train and evaluate stages left behind, as the register stage reads it."""

import contextlib
import csv
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json
from harmoniad.params import PARAMS_FILE

TRAIN_DIR = Path("results/train/model")
EVALUATE_DIR = Path("results/evaluate")
REPORT_FILE = Path("results/report/index.html")
DVC_LOCK = Path("dvc.lock")

METRICS_FILE = EVALUATE_DIR / "metrics.json"
THRESHOLD_FILE = EVALUATE_DIR / "threshold.json"
LATENCY_FILE = EVALUATE_DIR / "latency.json"
EVALUATION_REPORT = EVALUATE_DIR / "report.html"  # without the gate's decision
SCORES_FILE = EVALUATE_DIR / "scores.csv"
MODEL_FILES = [TRAIN_DIR / "model.json", TRAIN_DIR / "detector.safetensors", THRESHOLD_FILE]


@dataclass(frozen=True)
class Results:
    """The metrics and the description of one trained and evaluated model."""

    metrics: dict[str, Any]  # metrics.json
    model: dict[str, Any]  # model.json

    @property
    def data_fingerprint(self) -> str:
        """The fingerprint of all the images."""
        return str(self.metrics["data_fingerprint"])

    @property
    def test_fingerprint(self) -> str:
        """The fingerprint of the test images."""
        return str(self.metrics["test_fingerprint"])


def read_results() -> Results:
    """Read what is registered.

    Raises:
        HarmoniadError: A file is missing or damaged, or model and metrics belong to different data.
    """
    metrics = read_json(METRICS_FILE)
    model = read_json(MODEL_FILES[0])
    for path in (*MODEL_FILES, SCORES_FILE):
        if not path.is_file():
            raise HarmoniadError(f"{path}: no such file. Run `dvc repro`, which makes it.")
    if model.get("data_fingerprint") != metrics.get("data_fingerprint"):
        raise HarmoniadError(
            f"{METRICS_FILE}: measured on other data than {MODEL_FILES[0]} was trained on. Run `dvc repro`."
        )
    return Results(metrics, model)


def read_latency() -> float | None:
    """Milliseconds an image, as the evaluate stage measured it; None if it did not."""
    return float(read_json(LATENCY_FILE)["ms_per_image"]) if LATENCY_FILE.is_file() else None


@contextlib.contextmanager
def model_folder() -> Iterator[Path]:
    """Give a temporary folder with the files that `Inspector.load` needs."""
    with tempfile.TemporaryDirectory(prefix="harmoniad-") as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        for path in MODEL_FILES:
            shutil.copyfile(path, folder / path.name)
        yield folder


def files_to_log(heatmap_samples: int) -> list[Path]:
    """The files that go with the run: parameters, lock file, figures, plots and some heat maps.

    The report follows when the gate has decided.
    """
    files = [PARAMS_FILE, DVC_LOCK, METRICS_FILE, THRESHOLD_FILE, SCORES_FILE, LATENCY_FILE]
    plots = sorted((EVALUATE_DIR / "plots").rglob("*"))
    heatmaps = choose_heatmaps(SCORES_FILE, heatmap_samples)
    return [path for path in (*files, *plots, *heatmaps) if path.is_file()]


def choose_heatmaps(scores_file: Path, limit: int) -> list[Path]:
    """Choose up to `limit` heat maps, spread evenly over the categories and, within each, over the defects."""
    groups: dict[str, dict[str, list[Path]]] = {}
    with scores_file.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["heatmap"]:
                groups.setdefault(row["category"], {}).setdefault(row["defect"], []).append(Path(row["heatmap"]))
    categories = [_take_turns([sorted(paths) for _, paths in sorted(group.items())]) for group in groups.values()]
    return _take_turns(categories)[:limit]


def _take_turns(lists: list[list[Path]]) -> list[Path]:
    """The first of each list, then the second of each, and so on."""
    rounds = itertools.zip_longest(*lists)
    return [path for each in rounds for path in each if path is not None]
