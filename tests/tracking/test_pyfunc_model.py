"""The registered model against the inspector that it wraps, with a real encoder and a real detector."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harmoniad.features.encoders import Encoder, EncoderSpec
from harmoniad.inspector import Inspector
from harmoniad.models.patchcore.detector import PatchcoreDetector
from harmoniad.models.storage import TrainedModel, save_model
from harmoniad.params import Encoder as EncoderParams
from harmoniad.params import Params
from harmoniad.scoring import ImageScore, Threshold
from harmoniad.tracking import store
from harmoniad.tracking.registry import register
from harmoniad.tracking.results import MODEL_FILES, read_results

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 40, 56, 3), dtype=np.uint8)


class Features:
    """The features of some images, in memory."""

    def __init__(self, layers: list[torch.Tensor]) -> None:
        self.layers = layers
        self.categories = ["bolt", "nut"] * (len(self) // 2)
        self.shapes = tuple(tuple(layer.shape[1:]) for layer in layers)

    def __len__(self) -> int:
        return len(self.layers[0])

    def batch(self, indices: Sequence[int]) -> list[torch.Tensor]:
        return [layer[list(indices)] for layer in self.layers]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the inspector loads it, with a small PatchCore."""
    root = tmp_path_factory.mktemp("trained")
    folder = root / "model"
    spec = EncoderSpec.from_params(EncoderParams(resolution=32, layers=[2]))
    normal = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    features = Features(Encoder(spec, CPU)(list(normal)))
    detector = PatchcoreDetector.create(features.shapes, Params())  # type: ignore[arg-type]
    detector.fit(features, device=CPU, checkpoint=root / "checkpoint")  # type: ignore[arg-type]
    save_model(folder, TrainedModel("patchcore", detector, spec, ["bolt", "nut"], "data-1", seed=0))
    thresholds = {"bolt": 0.0, "nut": 1000.0}
    threshold = Threshold(0.05, 500.0, thresholds, {"bolt": 1, "nut": 1}, 0.1, ImageScore(0.01, 1, 1.0))
    (folder / "threshold.json").write_text(json.dumps(threshold.to_dict()))
    return folder


@pytest.fixture
def registered(project: Any, trained: Path) -> Path:
    """The folder of a model that is registered in the current project."""
    for path in MODEL_FILES:
        shutil.copyfile(trained / path.name, path)
    register(project.params, read_results())
    return trained


def test_champion_says_what_the_inspector_says(registered: Path) -> None:
    import mlflow

    with store.connect():
        model = mlflow.pyfunc.load_model("models:/harmoniad@champion")
    expected = Inspector.load(registered, "cpu").predict(list(IMAGES))
    found = model.predict(IMAGES)
    np.testing.assert_array_equal(found["score"], [prediction.score for prediction in expected])
    np.testing.assert_array_equal(found["anomaly_map"], [prediction.anomaly_map for prediction in expected])
    assert found["anomaly_map"].dtype == np.float32
    assert found["anomaly_map"].shape == IMAGES.shape[:3]
    assert found["threshold"].tolist() == [500.0] * 4
    assert found["is_anomalous"].tolist() == [False] * 4


def test_category_chooses_the_threshold(registered: Path) -> None:
    import mlflow

    with store.connect():
        model = mlflow.pyfunc.load_model("models:/harmoniad@champion")
    found = model.predict(IMAGES, params={"category": "bolt"})
    assert found["threshold"].tolist() == [0.0] * 4
    assert found["is_anomalous"].tolist() == [True] * 4


def test_images_must_be_uint8(registered: Path) -> None:
    import mlflow

    with store.connect():
        model = mlflow.pyfunc.load_model("models:/harmoniad@champion")
    with pytest.raises(mlflow.exceptions.MlflowException, match="uint8"):
        model.predict(IMAGES.astype(np.float32))


def test_model_server_takes_images_as_json(registered: Path) -> None:
    import mlflow
    from mlflow.pyfunc import scoring_server
    from starlette.testclient import TestClient

    with store.connect():
        model = mlflow.pyfunc.load_model("models:/harmoniad@champion")
    client = TestClient(scoring_server.init(model))
    answer = client.post("/invocations", json={"inputs": IMAGES.tolist(), "params": {"category": "nut"}})
    assert answer.status_code == 200, answer.text
    found = answer.json()["predictions"]
    expected = model.predict(IMAGES, params={"category": "nut"})
    assert found["is_anomalous"] == [False] * 4
    assert found["threshold"] == [1000.0] * 4
    np.testing.assert_allclose(found["anomaly_map"], expected["anomaly_map"], rtol=1e-6)
