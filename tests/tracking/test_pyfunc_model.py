"""The registered model against the inspector that it wraps, with a real encoder and a real detector."""

from pathlib import Path

import numpy as np
import pytest

from harmoniad.inspector import Inspector
from harmoniad.tracking import store

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 40, 56, 3), dtype=np.uint8)


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
