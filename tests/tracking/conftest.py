"""A project folder with the results of a trained model, and an MLflow store that is migrated once a session."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock
from PIL import Image
from safetensors.numpy import save_file

from harmoniad.params import Params, load_params
from harmoniad.tracking import store
from harmoniad.tracking.results import Results, read_results

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
        """Write what the train and evaluate stages would write."""
        scores = {"bolt": 0.92, "nut": 0.88} if categories is None else categories
        folder = self.root / "results/train/model"
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": np.full(3, weight, dtype=np.float32)}, folder / "detector.safetensors")
        encoder = {"name": "timm:tiny", "weights": "embedded", "weights_sha256": "ab" * 32, "resolution": 64}
        detector = {"name": "patchcore", "config": {}}
        model = {"format": 1, "detector": detector, "encoder": encoder, "data_fingerprint": data, "seed": 0}
        write(folder / "model.json", json.dumps(model))
        evaluate = self.root / "results/evaluate"
        figures = {name: {**MEAN, "image_auroc": value} for name, value in scores.items()}
        metrics = {"mean": {**MEAN, "image_auroc": mean}, "categories": figures}
        metrics |= {"data_fingerprint": data, "test_fingerprint": test}
        write(evaluate / "metrics.json", json.dumps(metrics))
        write(evaluate / "threshold.json", json.dumps({"joint": 0.5}))
        rows = ["path,category,split,label,defect,score,heatmap"]
        for category in scores:
            for defect in ("good", "scratch"):
                heatmap = f"results/evaluate/heatmaps/{category}/{defect}-0 ü.png"
                rows.append(f"data/x.png,{category},test,,{defect},0.5,{heatmap}")
                (self.root / heatmap).parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 4)).save(self.root / heatmap)
        write(evaluate / "scores.csv", "\n".join(rows))
        write(self.root / "results/report/index.html", "<p>report</p>")
        write(evaluate / "plots/roc.csv", "a,b")
        return read_results()

    def change_params(self, **sections: object) -> None:
        """Replace sections of params.yaml."""
        write(self.root / "params.yaml", yaml.safe_dump(sections))
        self.params = load_params(self.root / "params.yaml")


def write(path: Path, text: str) -> None:
    """Write a text file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """An empty MLflow database; making one takes seconds, so all the workers of a session share it."""
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "mlflow-template"
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
