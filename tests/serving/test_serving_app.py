"""What the routes answer."""

import base64
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import harmoniad
from harmoniad.data.images import load_rgb
from harmoniad.serving.app import Service, create_app
from harmoniad.serving.settings import Settings
from tests.serving.conftest import BASE, png


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_it_says_what_the_model_says(client: TestClient, trained: Path, kind: str) -> None:
    content = png(kind=kind)
    answer = client.post("/predict", files={"image": ("a.png", content)}, data={"category": "bolt"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    expected = harmoniad.load(trained, "cpu").predict(load_rgb(Path("a"), content), "bolt")[0]
    assert found["score"] == pytest.approx(expected.score, abs=1e-5)
    assert (found["threshold"], found["is_anomalous"]) == (0, True)
    assert [tuple(region["box"]) for region in found["regions"]] == [region.box for region in expected.regions[:100]]
    assert (found["width"], found["height"], found["category"]) == (56, 40, "bolt")
    assert found["model"] == {"name": str(trained), "version": None}
    assert found["heatmap"] is None


def test_without_a_category_the_joint_threshold_holds(client: TestClient) -> None:
    for data in ({}, {"category": ""}, {"category": "never seen"}):
        found = client.post("/predict", files={"image": png()}, data=data).json()
        assert (found["threshold"], found["is_anomalous"]) == (500, False)


def test_the_heat_map_comes_in_the_answer_or_alone(client: TestClient) -> None:
    files = {"image": png()}
    inside = base64.b64decode(client.post("/predict?heatmap=true", files=files).json()["heatmap"])
    alone = client.post("/predict", files=files, headers={"Accept": "image/png"})
    assert alone.headers["content-type"] == "image/png"
    assert alone.headers["x-is-anomalous"] == "false"
    assert float(alone.headers["x-threshold"]) == 500
    assert alone.content == inside
    with Image.open(io.BytesIO(inside)) as image:
        assert image.size == (56, 40)


def test_ready_only_with_a_model(make_client: Callable[..., TestClient]) -> None:
    client = make_client(keep="none")
    assert client.get("/health").json()["status"] == "ready"
    model = client.service.model  # type: ignore[attr-defined]
    model._inspector = None
    assert client.get("/health").status_code == 503
    assert client.post("/predict", files={"image": png()}).status_code == 503


def test_prometheus_gets_its_figures(client: TestClient) -> None:
    client.post("/predict", files={"image": png()})
    client.post("/predict", files={"image": b"nothing"})
    client.get("/somewhere/else")
    text = client.get("/metrics").text
    for line in (
        'harmoniad_requests_total{path="/predict",status="200"} 1.0',
        'harmoniad_requests_total{path="/predict",status="422"} 1.0',
        'harmoniad_requests_total{path="other",status="404"} 1.0',
        "harmoniad_predict_seconds_count 1.0",
        "harmoniad_batch_size_sum 1.0",
        "harmoniad_queue_length 0.0",
        'harmoniad_verdicts_total{verdict="passed"} 1.0',
        "harmoniad_model_info{",
    ):
        assert line in text


def test_the_description_of_the_interface_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "POST /predict" in page and "is_anomalous" in page
    assert "src=" not in page and "https://" not in page
    assert client.get("/openapi.json").json()["paths"].keys() == {"/predict", "/health", "/metrics"}
    assert client.get("/").headers["location"] == "/review"


def test_images_that_come_together_are_judged_together(make_client: Callable[..., TestClient]) -> None:
    client = make_client(wait_ms=1000, keep="none")
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda seed: client.post("/predict", files={"image": png(seed=seed)}), range(6)))
    alone = [client.post("/predict", files={"image": png(seed=seed)}).json()["score"] for seed in range(6)]
    assert [answer.json()["score"] for answer in found] == pytest.approx(alone, abs=1e-5)
    batches = client.service.metrics.batch_size._sum.get()  # type: ignore[attr-defined]
    assert batches == 12
    count = client.get("/metrics").text.partition("harmoniad_batch_size_count ")[2].partition("\n")[0]
    assert float(count) < 12


def test_a_full_queue_says_so_and_recovers(make_client: Callable[..., TestClient]) -> None:
    client = make_client(queue=2, keep="none")
    inspector = client.service.model.inspector()  # type: ignore[attr-defined]
    go_on, predict = threading.Event(), inspector.predict

    def slow(*arguments: object) -> object:
        go_on.wait(30)
        return predict(*arguments)

    inspector.predict = slow
    with ThreadPoolExecutor(2) as pool:
        taken = [pool.submit(client.post, "/predict", files={"image": png()}) for _ in range(2)]
        while client.service.under_way < 2:  # type: ignore[attr-defined]
            pass
        refused = client.post("/predict", files={"image": png()})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json() == {"detail": "the queue is full"}
        assert client.get("/health").status_code == 200
        go_on.set()
        assert [answer.result().status_code for answer in taken] == [200, 200]
    assert client.post("/predict", files={"image": png()}).status_code == 200


def test_an_image_on_which_the_model_fails_spoils_no_other(make_client: Callable[..., TestClient]) -> None:
    client = make_client(wait_ms=1000, keep="none")
    inspector = client.service.model.inspector()  # type: ignore[attr-defined]
    predict = inspector.predict

    def fails(images: list[np.ndarray], categories: list[str | None]) -> object:
        if any(image.shape[0] == 33 for image in images):
            raise RuntimeError("no")
        return predict(images, categories)

    inspector.predict = fails
    with ThreadPoolExecutor(4) as pool:
        heights = (40, 33, 41, 42)
        found = list(pool.map(lambda each: client.post("/predict", files={"image": png(height=each)}), heights))
    assert [answer.status_code for answer in found] == [200, 500, 200, 200]
    assert found[1].json() == {"detail": "the server failed; its log says why"}


def test_closing_finishes_what_has_been_taken(make_service: Callable[..., Service]) -> None:
    service = make_service(keep="none")
    with TestClient(create_app(service), BASE), ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(service.inspection.inspect, png(seed=seed), "", None, False) for seed in range(4)]
    assert all(answer.result().threshold == 500 for answer in waiting)
    assert not service.batcher._thread.is_alive()


def test_two_servers_do_not_share_a_review_folder(client: TestClient) -> None:
    with pytest.raises(harmoniad.errors.HarmoniadError, match="another server uses it"):
        Service(Settings())


def test_a_full_disk_costs_no_verdict(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **values: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(client.service.review, "add", fails)  # type: ignore[attr-defined]
    answer = client.post("/predict", files={"image": png()}, data={"category": "bolt"})
    assert (answer.status_code, answer.json()["is_anomalous"]) == (200, True)
    assert "harmoniad_review_not_kept_total 1.0" in client.get("/metrics").text


def test_a_person_gets_a_page_and_a_program_json(client: TestClient) -> None:
    address = "/review/items/x/photo.jpg"
    assert "Back to the review page" in client.get(address, headers={"Accept": "text/html,*/*"}).text
    assert client.get(address).json()["detail"].startswith("no such image")
