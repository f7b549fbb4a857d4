"""The registered champion says the same in Python, by `harmoniad score`, by MLflow's server and by `serve-model`."""

import base64
import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from starlette.testclient import TestClient

import harmoniad
from harmoniad.cli import cli
from harmoniad.serving.app import Service, create_app
from harmoniad.serving.settings import Settings
from harmoniad.tracking import store

CHAMPION = "models:/harmoniad@champion"


@pytest.fixture
def images(registered: Path) -> list[Path]:
    """A PNG, a JPEG and an image of another size, in the project's folder."""
    rng = np.random.default_rng(5)
    found = []
    for name, shape in (("ä 1.png", (40, 56, 3)), ("2.jpg", (64, 64, 3)), ("3.png", (33, 90, 3))):
        path = Path("new parts") / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        found.append(path)
    return found


def test_four_ways_one_score(images: list[Path]) -> None:
    import mlflow
    from mlflow.pyfunc import scoring_server

    wanted = harmoniad.load(CHAMPION, "cpu").predict(images, "bolt")
    scores = pytest.approx([prediction.score for prediction in wanted], abs=1e-5)

    arguments = ["score", *map(str, images), "--category", "bolt", "--out", "scored", "--device", "cpu"]
    assert CliRunner().invoke(cli, arguments).exit_code == 3
    with Path("scored/scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == scores
    assert {row["verdict"] for row in rows} == {"rejected"}

    with store.connect():
        model = mlflow.pyfunc.load_model(CHAMPION)
    texts = [base64.b64encode(path.read_bytes()).decode() for path in images]
    request = {"inputs": texts, "params": {"category": "bolt", "anomaly_map": False}}
    answer = TestClient(scoring_server.init(model)).post("/invocations", json=request)
    assert answer.json()["predictions"]["score"] == scores
    assert answer.json()["predictions"]["is_anomalous"] == [True] * 3

    service = Service(Settings(model="champion", device="cpu", keep="none"))
    service.model.load()
    with TestClient(create_app(service), "http://127.0.0.1") as client:
        data = {"category": "bolt"}
        answers = [client.post("/predict", files={"image": path.read_bytes()}, data=data).json() for path in images]
    assert [each["score"] for each in answers] == scores
    assert [each["is_anomalous"] for each in answers] == [True] * 3
    boxes = [[list(region.box) for region in prediction.regions[:100]] for prediction in wanted]
    assert [[region["box"] for region in each["regions"]] for each in answers] == boxes
    assert rows[0]["region_box"] == " ".join(map(str, boxes[0][0]))
