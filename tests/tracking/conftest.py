"""A project folder with the results of a trained model, and an MLflow store that is migrated once a session."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock
from PIL import Image
from safetensors.numpy import save_file

from harmoniad.data.manifest import COLUMNS, fingerprint_of_test_images, write_manifest
from harmoniad.params import Params, load_params
from harmoniad.report.decision import PLACE
from harmoniad.tracking import store
from harmoniad.tracking.registry import register
from harmoniad.tracking.results import MODEL_FILES, Results, read_results

THRESHOLD = 9.25  # above it are no good images and all defects that score above all good images
PATH = ["path", "category"]
MEAN = {"image_auroc": 0.9, "image_ap": 0.91, "pixel_auroc": 0.95, "pixel_ap": None, "aupro": 0.85}


class Project:
    """A project in the current folder whose results can be replaced, as another training would do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.params: Params = load_params(root / "params.yaml")

    def train(
        self,
        weight: float = 1.0,
        mean: float | None = 0.9,
        categories: dict[str, float | None] | None = None,
        data: str = "data-1",
        test: str = "test-1",
    ) -> Results:
        """Write what the stages before `register` would write.

        Args:
            weight: Of the model; another one is another model.
            mean: Image AUROC of both categories, if `categories` are not given.
            categories: Image AUROC of each, in hundredths; None has no good test images.
            data: Fingerprint of the data.
            test: Another word makes other test images.
        """
        scores = {"bolt": mean, "nut": mean} if categories is None else categories
        defined = [value for value in scores.values() if value is not None]
        mean = sum(defined) / len(defined) if defined else None
        folder = self.root / "results/train/model"
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": np.full(3, weight, dtype=np.float32)}, folder / "detector.safetensors")
        encoder = {"name": "timm:tiny", "weights": "embedded", "weights_sha256": "ab" * 32, "resolution": 64}
        detector = {"name": "patchcore", "config": {}}
        model = {"format": 1, "detector": detector, "encoder": encoder, "data_fingerprint": data, "seed": 0}
        write(folder / "model.json", json.dumps(model | {"categories": sorted(scores)}))
        manifest = write_manifest(manifest_rows(scores, test), "sample")
        evaluate = self.root / "results/evaluate"
        figures = {name: {**MEAN, "image_auroc": value} for name, value in scores.items()}
        metrics = {"mean": {**MEAN, "image_auroc": mean}, "categories": figures}
        metrics |= {"data_fingerprint": data, "test_fingerprint": fingerprint_of_test_images(manifest)}
        write(evaluate / "metrics.json", json.dumps(metrics))
        write(evaluate / "threshold.json", json.dumps({"joint": 0.5}))
        write(evaluate / "latency.json", json.dumps({"ms_per_image": 20.0, "images": 12}))
        manifest = manifest.assign(threshold=THRESHOLD, heatmap="")
        manifest["score"] = [score_of(Path(path).stem, scores[name]) for path, name in manifest[PATH].values]
        for category in scores:
            for defect in ("good", "scratch"):
                heatmap = f"results/evaluate/heatmaps/{category}/{defect}-0 ü.png"
                rows = (manifest["category"] == category) & (manifest["defect"] == defect)
                manifest.loc[rows.index[rows][-1:], "heatmap"] = heatmap
                (self.root / heatmap).parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 4)).save(self.root / heatmap)
        columns = ["path", "category", "split", "label", "defect", "score", "threshold", "heatmap"]
        manifest[columns].to_csv(evaluate / "scores.csv", index=False)
        write(evaluate / "report.html", f"<p>report</p>{PLACE}")
        write(evaluate / "plots/roc.csv", "a,b")
        return read_results()

    def change_params(self, **sections: object) -> None:
        """Replace sections of params.yaml."""
        write(self.root / "params.yaml", yaml.safe_dump(sections))
        self.params = load_params(self.root / "params.yaml")


def manifest_rows(categories: dict[str, float | None], test: str) -> list[dict[str, object]]:
    """Ten held-out images, ten good and ten defective test images of each category."""
    rows = []
    for category, area in categories.items():
        for split, label in (("held_out", "good"), ("test", "good"), ("test", "defect")):
            for number in range(0 if (split, label, area) == ("test", "good", None) else 10):
                path = f"data/sample/{category}/{split} {label} {number}.png"
                sha256 = hashlib.sha256(f"{path} {test if split == 'test' else ''}".encode()).hexdigest()
                kind = {"split": split, "label": label, "defect": "good" if label == "good" else "scratch"}
                empty = {column: "" if kind == "str" else 0 for column, kind in COLUMNS.items()}
                rows.append(empty | kind | {"path": path, "data_set": "sample", "category": category, "sha256": sha256})
    return rows


def score_of(name: str, area: float | None) -> float:
    """A score that gives a category its image AUROC: good images have 0 to 9, a defect 10, or 0 so that few are below.

    So the recall at the threshold of 9.25, which is also that at a false positive rate of 0, is the AUROC rounded down.
    """
    _, label, number = name.split()
    if label == "good":
        return float(number)
    below = round(100 * (area or 0)) - 10 * int(number)  # how many of the ten good images lie below this defect
    return min(10, max(0, below)) - 0.5


def write(path: Path, text: str) -> None:
    """Write a text file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; making one takes seconds, so all the workers of a session share it."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mlflow-template"
    root.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, FileLock(root / "lock"):
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with store.connect():
            return root / store.DATABASE


@pytest.fixture
def project(tmp_path: Path, migrated_database: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A trained project with an empty store; it is the current folder."""
    root = tmp_path / "with space ü"
    (root / store.STORE_DIR).mkdir(parents=True)
    shutil.copyfile(migrated_database, root / store.DATABASE)
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write(root / "params.yaml", "seed: 0\n")
    write(root / "dvc.lock", "schema: '2.0'\n")
    made = Project(root)
    made.train()
    return made


@pytest.fixture
def registered(project: Project, trained: Path) -> Path:
    """The folder of a model that is registered in the current project."""
    for path in MODEL_FILES:
        shutil.copyfile(trained / path.name, path)
    register(project.params, read_results())
    return trained
