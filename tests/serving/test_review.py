"""What is kept for review, what a decision does, and the pages' answers; in a browser: see test_review_in_browser."""

import datetime
import io
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from harmoniad.errors import HarmoniadError
from harmoniad.factory.inbox import read_inbox
from harmoniad.files import read_json
from harmoniad.inspector import Prediction
from harmoniad.serving.review.decisions import Decisions, known_kinds
from harmoniad.serving.review.pictures import ABOVE, draw, map_levels
from harmoniad.serving.review.store import ReviewStore
from tests.serving.conftest import png

EVIL = '"><script>alert(1)</script>'
SMALL = 'loading="lazy"'  # a small picture of the list
FILES = {"map.png": b"map"}


def send(client: TestClient, seed: int = 0, category: str = "bolt", name: str = "a.png", **more: Any) -> None:
    answer = client.post("/predict", files={"image": (name, png(seed=seed, **more))}, data={"category": category})
    assert answer.status_code == 200


def items(client: TestClient) -> list[Any]:
    return client.service.review.items()  # type: ignore[attr-defined]


def decide(client: TestClient, key: str, **fields: str) -> httpx.Response:
    form_key = re.findall(r'name="form_key" value="(\w+)"', client.get("/review?state=all&day=all").text)[0]
    body = {"form_key": form_key, "word": "false_alarm", "category": "bolt", "kind": "scratch", "who": "Ünal"}
    return client.post(f"/review/items/{key}/decision", data=body | fields)


def undo(client: TestClient, key: str) -> httpx.Response:
    return client.post(f"/review/items/{key}/undo", data={"form_key": client.service.keys.form, "who": "Bo"})


def add(store: ReviewStore, number: int = 0, size: int = 10) -> Any:
    values = {"name": f"{number}", "category": "bolt", "score": 1.0, "threshold": 0.0, "is_anomalous": True}
    return store.add(bytes(size), FILES, **values, model="m", suffix=".png", width=2, height=2)


def test_what_is_flagged_is_kept_as_it_came(client: TestClient) -> None:
    send(client)
    send(client, category="nut")  # passes
    (item,) = items(client)
    assert client.service.review.image(item) == png()  # type: ignore[attr-defined]
    assert (item.category, item.name, item.state, item.suffix) == ("bolt", "a.png", "open", ".png")
    page = client.get("/review").text
    assert "<b>1</b> open" in page and f"/review/items/{item.key}/heat.jpg" in page
    for picture, kind in (("photo.jpg", "image/jpeg"), ("heat.jpg", "image/jpeg"), ("mask.png", "image/png")):
        assert client.get(f"/review/items/{item.key}/{picture}").headers["content-type"] == kind
    assert client.get(f"/review/items/{item.key}/image.png").status_code == 404  # never the bytes that came
    assert client.get(f"/review/items/{item.key}/item.json").status_code == 404


@pytest.mark.parametrize(("keep", "count"), [("all", 2), ("none", 0)])
def test_all_or_none_may_be_kept(make_client: Callable[..., TestClient], keep: str, count: int) -> None:
    client = make_client(keep=keep)
    send(client)
    send(client, category="nut")
    if keep == "none":
        assert client.get("/review").status_code == 404
        return
    assert len(items(client)) == count
    assert client.get("/review?verdict=passed").text.count(SMALL) == 1
    assert client.get("/review?verdict=all").text.count(SMALL) == 2


def test_a_false_alarm_goes_to_the_inbox_as_good(client: TestClient) -> None:
    send(client, name="line 3.png")
    (item,) = items(client)
    answer = decide(client, item.key)
    assert answer.status_code == 303, answer.text
    (delivery,) = read_inbox(0).deliveries
    assert (delivery.data_set, delivery.category, delivery.label) == ("line", "bolt", "good")
    assert delivery.image.read_bytes() == png()
    (line,) = Path(".harmoniad/review/decisions.jsonl").read_text(encoding="utf-8").splitlines()
    told = json.loads(line)
    assert (told["who"], told["decision"], told["file"], told["item"]) == (
        "Ünal",
        "false_alarm",
        "line 3.png",
        item.key,
    )
    assert datetime.datetime.fromisoformat(told["when"]).utcoffset() is not None
    assert told["path"] == delivery.image.as_posix() and told["sha256"] == item.sha256
    page = client.get(answer.headers["location"]).text
    assert "Saved: <b>false alarm</b>" in page and "Undo" in page and 'value="Ünal"' in page


def test_a_defect_goes_to_its_kind_and_unsure_nowhere(client: TestClient) -> None:
    for seed in range(2):
        send(client, seed)
    first, second = items(client)
    assert decide(client, first.key, word="defect").status_code == 303
    assert decide(client, second.key, word="unsure", category="").status_code == 303
    (delivery,) = read_inbox(0).deliveries
    assert (delivery.label, delivery.defect) == ("defect", "scratch")
    assert client.get("/review?state=unsure").text.count(SMALL) == 1
    assert decide(client, second.key).status_code == 303  # who is unsure today may know tomorrow
    assert len(read_inbox(0).deliveries) == 2


def test_a_decision_is_made_once_and_can_be_taken_back(client: TestClient) -> None:
    send(client)
    (item,) = items(client)
    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(pool.map(lambda _: decide(client, item.key).status_code, range(4)))
    assert statuses == [303, 409, 409, 409]
    assert undo(client, item.key).status_code == 303
    assert read_inbox(0).deliveries == []
    assert items(client)[0].state == "open"
    assert undo(client, item.key).status_code == 409
    assert decide(client, item.key, word="defect").status_code == 303
    read_inbox(0).deliveries[0].image.unlink()  # the ingestion has taken it
    assert undo(client, item.key).status_code == 409
    log = Path(".harmoniad/review/decisions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["decision"] for line in log] == ["false_alarm", "undo", "defect"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"category": "../../evil"}, 422),
        ({"category": "never seen"}, 422),
        ({"category": ""}, 422),
        ({"word": "defect", "kind": "../good"}, 422),
        ({"word": "delete"}, 422),
        ({"form_key": "0" * 64}, 403),
        ({"form_key": "é"}, 403),
    ],
)
def test_what_no_form_of_ours_sends_is_refused(client: TestClient, fields: dict[str, str], status: int) -> None:
    send(client)
    assert decide(client, items(client)[0].key, **fields).status_code == status
    assert decide(client, "../../x").status_code == 404
    assert not Path("data").exists()
    assert not Path(".harmoniad/review/decisions.jsonl").exists()


def test_a_category_that_is_a_path_names_no_folder(client: TestClient) -> None:
    """A model's folder that nobody registered may call a category anything."""
    send(client)
    for name in ("../../evil", ".hidden"):
        client.service.model.inspector().threshold.categories[name] = 0.0  # type: ignore[attr-defined]
        try:
            answer = decide(client, items(client)[0].key, category=name)
        finally:
            del client.service.model.inspector().threshold.categories[name]  # type: ignore[attr-defined]
        assert answer.status_code == 422 and "cannot be the name" in answer.json()["detail"]
    assert not Path("data").exists() and not Path("evil").exists()


def test_a_form_of_another_site_does_nothing(client: TestClient) -> None:
    send(client)
    address = f"/review/items/{items(client)[0].key}/decision"
    body = {"form_key": client.service.keys.form, "word": "false_alarm", "category": "bolt"}  # type: ignore[attr-defined]
    assert client.post(address, data=body, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post(address, data=body | {"form_key": ""}).status_code in (403, 422)
    assert client.post(address.replace("/decision", "/undo"), data={"form_key": "0" * 64}).status_code == 403
    assert not Path("data").exists()
    assert client.post(address, data=body, headers={"Origin": "http://127.0.0.1"}).status_code == 303


def test_script_in_names_stays_text(client: TestClient) -> None:
    send(client, category=EVIL, name=EVIL)
    send(client, seed=1, name=EVIL)
    client.service.model.inspector().threshold.categories[EVIL] = 0.0  # type: ignore[attr-defined]
    try:
        send(client, seed=2, category=EVIL, name=EVIL)
        assert decide(client, items(client)[1].key, who=EVIL).status_code == 303
        pages = [client.get(f"/review?state=all&day=all&item={item.key}&kind={EVIL}").text for item in items(client)]
        pages.append(client.get(f"/review?done={items(client)[1].key}").text)
    finally:
        del client.service.model.inspector().threshold.categories[EVIL]  # type: ignore[attr-defined]
    for page in pages:
        assert "<script>alert" not in page
        assert page.count("<script") == 1
    assert any("&lt;script&gt;alert(1)" in page for page in pages)


def test_filters(make_client: Callable[..., TestClient]) -> None:
    client = make_client(keep="all")
    for seed in range(3):
        send(client, seed, "bolt" if seed else "nut")
    scores = sorted(item.score for item in items(client))
    every = "/review?verdict=all&state=all"
    assert client.get(every).text.count(SMALL) == 3
    assert client.get(f"{every}&category=nut").text.count(SMALL) == 1
    assert client.get(f"{every}&least={scores[1]}").text.count(SMALL) == 2
    assert client.get(f"{every}&least=").text.count(SMALL) == 3
    assert client.get(f"{every}&day=2020-01-01").text.count(SMALL) == 0
    shown = re.findall(r'<span class="soft">(-?[\d.e+]+)</span></a>', client.get(f"{every}&sort=score").text)
    assert [float(text) for text in shown] == pytest.approx(scores[::-1], rel=1e-3)
    for query in ("least=nan", "state=x", "verdict=1", "least=x"):
        assert client.get(f"/review?{query}").status_code == 422


def test_the_store_is_bounded_and_survives(project: Path) -> None:
    store = ReviewStore(Path("review"), 3, 10_000)
    kept = [add(store, number) for number in range(3)]
    Decisions(store, "line", ["other"]).decide(kept[1], "unsure", category="", kind="", who="", known=[])
    decided = Decisions(store, "line", ["other"]).decide(
        kept[2], "false_alarm", category="bolt", kind="", who="", known=["bolt"]
    )
    add(store, 3)
    assert [item.name for item in store.items()] == ["3", "1", "0"]  # what is decided goes first
    add(store, 4)
    assert [item.name for item in store.items()] == ["4", "3", "1"]  # then the oldest
    add(store, 5, size=9_985)
    assert [item.name for item in store.items()] == ["5"]
    assert Path(decided.decision.path).is_file()  # type: ignore[union-attr]
    store.close()
    (Path("review/items") / ".left.tmp").mkdir()
    (Path("review/items") / "broken").mkdir()
    again = ReviewStore(Path("review"), 3, 10_000)
    assert [(item.name, item.state) for item in again.items()] == [("5", "open")]
    assert len(list(Path("review/items").iterdir())) == 1
    assert read_json(again.file(again.items()[0], "item.json"))["name"] == "5"
    again.close()


def test_pictures_are_drawn_when_somebody_looks(client: TestClient) -> None:
    send(client)
    (item,) = items(client)
    folder = Path(".harmoniad/review/items") / item.key
    assert sorted(path.name for path in folder.iterdir()) == ["image.png", "item.json", "map.png"]
    first = client.get(f"/review/items/{item.key}/heat.jpg").content
    assert (folder / "heat.jpg").read_bytes() == first  # and kept
    assert client.get(f"/review/items/{item.key}/heat.jpg").content == first
    (folder / "mask.png").unlink()
    (folder / "map.png").unlink()
    assert client.get(f"/review/items/{item.key}/mask.png").status_code == 404


def test_a_small_map_keeps_what_lies_above_the_threshold() -> None:
    values = np.zeros((1000, 800), np.float32)
    values[700, 300:] = np.linspace(-1, 9, 500)
    inspector = SimpleNamespace(threshold=SimpleNamespace(normal_level=-1.0))
    levels = map_levels(Prediction(2.0, 1.0, True, values), inspector)  # type: ignore[arg-type]
    drawn = draw(np.full((1000, 800, 3), 90, np.uint8), levels)
    mask = np.asarray(Image.open(io.BytesIO(drawn["mask.png"])))
    assert mask.shape == (640, 512)
    assert set(np.nonzero(mask)[0]) == {700 * 640 // 1000}
    assert mask.sum() == pytest.approx((values > 1).sum() * 512 / 800, abs=1)
    on_the_threshold = Prediction(1.0, 1.0, False, np.ones((8, 8), np.float32))
    assert np.asarray(Image.open(io.BytesIO(map_levels(on_the_threshold, inspector)))).max() < ABOVE  # type: ignore[arg-type]


def test_names_of_folders_are_checked(project: Path) -> None:
    store = ReviewStore(Path("review"), 3, 10_000)
    for wrong in ("../x", "a/b", ".x", ""):
        with pytest.raises(HarmoniadError, match="cannot be the name"):
            Decisions(store, wrong, ["other"])
        with pytest.raises(HarmoniadError, match="cannot be the name"):
            Decisions(store, "line", [wrong])
    store.close()


def test_kinds_are_those_of_the_manifest(project: Path) -> None:
    assert known_kinds(Path("no.csv")) == ("other",)
    Path("m.csv").write_text("path,defect\na,good\nb,scratch\nc,bent\n", encoding="utf-8")
    assert known_kinds(Path("m.csv")) == ("bent", "scratch", "other")
