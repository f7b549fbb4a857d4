"""The registered model against the inspector that it wraps, with a real encoder and a real detector."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import harmoniad
from harmoniad import loading
from harmoniad.errors import HarmoniadError
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


@pytest.fixture
def client(registered: Path) -> Any:
    """MLflow's own server, without the network."""
    import mlflow
    from mlflow.pyfunc import scoring_server
    from starlette.testclient import TestClient

    with store.connect():
        model = mlflow.pyfunc.load_model("models:/harmoniad@champion")
    return TestClient(scoring_server.init(model))


def test_model_server_answers_arrays_and_base64_alike(registered: Path, client: Any) -> None:
    wanted = Inspector.load(registered, "cpu").predict(IMAGES, "bolt")
    texts = [base64.b64encode(encoded(image)).decode() for image in IMAGES]
    requests = [
        {"inputs": IMAGES.tolist()},
        {"instances": IMAGES.tolist()},
        {"inputs": texts},
        {"instances": texts},
        {"inputs": [f"data:image/png;base64,{text}" for text in texts]},
        {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
        {"dataframe_records": [{"image": text} for text in texts]},
    ]
    for request in requests:
        answer = client.post("/invocations", json={**request, "params": {"category": "bolt"}})
        assert answer.status_code == 200, answer.text
        found = answer.json()["predictions"]
        assert found["is_anomalous"] == [True] * 4
        assert found["threshold"] == [0.0] * 4
        np.testing.assert_allclose(found["score"], [one.score for one in wanted], atol=1e-5)
        np.testing.assert_allclose(found["anomaly_map"], [one.anomaly_map for one in wanted], atol=1e-5)
        assert found["regions"][0][0]["box"] == list(wanted[0].regions[0].box)


def test_images_of_different_sizes(registered: Path, client: Any) -> None:
    images = [IMAGES[0], IMAGES[1, :20], IMAGES[2, :, :30]]
    texts = [base64.b64encode(encoded(image)).decode() for image in images]
    for inputs in (texts, [image.tolist() for image in images], [images[0].tolist(), images[2].tolist()]):
        found = client.post("/invocations", json={"inputs": inputs}).json()["predictions"]
        assert len(found["score"]) == len(inputs)
        assert len(found["anomaly_map"][0]) == 40
    short = client.post("/invocations", json={"inputs": texts, "params": {"anomaly_map": False}}).json()["predictions"]
    assert "anomaly_map" not in short
    assert len(short["score"]) == 3


NO_IMAGES: list[tuple[list[Any], str]] = [
    (["/etc/hostname"], "image 0: is not an image|image 0: not base64"),
    (["ÄÖ"], "image 0: not base64"),
    ([base64.b64encode(b"<svg/>").decode()], "image 0: is not an image"),
    ([base64.b64encode(b"PK\x03\x04").decode()], "image 0: is not an image"),
    ([[[[0, 0, 256]]]], "image 0: must be uint8, but its numbers lie outside"),
    ([[[[0.5, 0, 0]]]], "image 0: must be uint8"),
    ([[[[0, 0]]]], "image 0: must be uint8"),
    ([[[[0, 0, 0]], []]], "image 0: its rows differ in length"),
    ([None], "image 0: must be uint8"),
]


def test_what_is_no_image_is_the_callers_mistake(client: Any) -> None:
    for inputs, told in NO_IMAGES:
        answer = client.post("/invocations", json={"inputs": inputs})
        assert answer.status_code == 400
        assert re.search(told, answer.json()["message"])


def test_the_signature_names_what_it_answers(registered: Path) -> None:
    import mlflow

    with store.connect():
        model = mlflow.pyfunc.load_model("models:/harmoniad@champion")
    outputs = model.metadata.signature.outputs.input_names()
    assert sorted(outputs) == sorted(model.predict(IMAGES))


def test_a_tampered_model_is_refused(registered: Path) -> None:
    import mlflow

    (threshold,) = Path("mlflow/store/artifacts").rglob("artifacts/model/threshold.json")
    threshold.write_text(threshold.read_text().replace("500.0", "5000.0"))
    with store.connect(), pytest.raises(HarmoniadError, match="were changed since it was registered"):
        mlflow.pyfunc.load_model("models:/harmoniad@champion")
    with pytest.raises(HarmoniadError, match="harmoniad version 1 were changed since it was registered"):
        harmoniad.load("models:/harmoniad@champion")


def test_the_registered_model_has_one_answer_by_every_way(registered: Path) -> None:
    import mlflow

    with store.connect():
        served = mlflow.pyfunc.load_model("models:/harmoniad@champion").predict(IMAGES)
    for name in ("champion", "@champion", "1", "models:/harmoniad/1", "models:/harmoniad@champion"):
        model = harmoniad.load(name, "cpu")
        assert model.origin is not None
        assert (model.origin.name, model.origin.version) == ("harmoniad version 1", 1)
        np.testing.assert_allclose([one.score for one in model.predict(IMAGES)], served["score"], atol=1e-5)
    assert loading.wanted_version("models:/harmoniad@champion") == 1
    with pytest.raises(HarmoniadError, match="harmoniad has no version 9"):
        harmoniad.load("9")


def encoded(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
