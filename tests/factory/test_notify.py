"""Messages to a real small web server."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.factory.notify import send
from harmoniad.factory.story import Message, Story, compose, remember
from harmoniad.params import Notify, check_params

MESSAGE = Message("kept", "plant: refused", "plant: version 7 was refused.", {"MLflow": "http://mlflow/7"})
REGISTERED = {
    "name": "harmoniad",
    "version": 7,
    "decision": "kept",
    "reasons": ["gear is worse", "b", "c", "d", "e"],
    "checks": [{"name": "mean image AUROC", "champion": 0.99, "challenger": 0.9}],
}


class Inbox(HTTPServer):
    received: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Inbox)
        self.server.received.append(content)
        self.send_response(500 if self.path.endswith("broken") else 200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def people() -> Iterator[Inbox]:
    with Inbox(("127.0.0.1", 0), Handler) as server:
        server.received = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def address(people: Inbox, path: str = "s3cret") -> str:
    return f"http://127.0.0.1:{people.server_port}/{path}"


def test_a_webhook_gets_the_paragraph_and_the_links(
    people: Inbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FACTORY_HOOK", address(people))
    caplog.set_level(logging.DEBUG)
    assert send(MESSAGE, Notify(webhook="FACTORY_HOOK")) == ["notify.webhook (FACTORY_HOOK) was told"]
    assert send(MESSAGE, Notify(webhook=address(people))) == ["notify.webhook (127.0.0.1) was told"]
    assert people.received[0] == people.received[1]
    assert people.received[0] == {
        "text": "plant: version 7 was refused.\nMLflow: http://mlflow/7",
        "status": "kept",
        "title": "plant: refused",
        "paragraph": "plant: version 7 was refused.",
        "links": {"MLflow": "http://mlflow/7"},
    }
    assert "s3cret" not in "".join(record.getMessage() for record in caplog.records if record.name == "httpx")


def test_what_goes_wrong_is_a_warning_without_the_address(people: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    (broken,) = send(MESSAGE, Notify(webhook=address(people, "s3cret/broken")))
    assert broken == "warning: notify.webhook (127.0.0.1) answered 500 Internal Server Error; nobody was told"
    (gone,) = send(MESSAGE, Notify(webhook="http://127.0.0.1:9/s3cret"))
    assert gone == "warning: notify.webhook (127.0.0.1) was not reached (ConnectError); nobody was told"
    monkeypatch.delenv("FACTORY_HOOK", raising=False)
    (unset,) = send(MESSAGE, Notify(webhook="FACTORY_HOOK"))
    assert unset.startswith("warning: notify.webhook (FACTORY_HOOK): the environment variable holds no http://")


def test_nothing_configured_is_one_line() -> None:
    assert send(MESSAGE, Notify()) == ["note: nobody was told: `notify` in params.yaml is empty"]


def test_a_wrong_address_is_told_without_its_secret() -> None:
    with pytest.raises(HarmoniadError) as error:
        check_params({"notify": {"webhook": "htps://hooks.example/s3cret"}}, "params.yaml")
    assert "notify.webhook" in str(error.value)
    assert "s3cret" not in str(error.value)


def test_a_refusal_tells_what_came_why_and_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    taken = [{"category": "gear", "defect": kind} for kind in ("good", "good", "bent")]
    ingested = {"taken": taken, "quarantined": {"x.png": ["is no image"]}, "waiting": {}}
    drift = {"decision": "retrain", "reasons": ["3 new images"], "skipped": ""}
    story = Story(ingested, drift, registered=REGISTERED, commit="0123456789abcdef", warnings=["warning: not pushed"])
    message = compose(story, "plant")
    assert (message.status, message.title) == ("kept", "plant: version 7 was refused, the champion stays")
    assert message.paragraph == (
        "plant: version 7 was refused, the champion stays. "
        "3 new images (gear 1 with bent, gear 2 good) came in; 1 went to quarantine, such as x.png (is no image). "
        "Drift: retrain: 3 new images. "
        "The gate refused harmoniad version 7: gear is worse; b; c; d; and 1 more; "
        "mean image AUROC of the new version 0.9000, the champion before 0.9900, on the same images; "
        "commit 0123456789. not pushed."
    )
    remember(story)
    assert compose(story, "plant").title == "plant: the model is still version 7"


def test_a_failure_tells_the_stage() -> None:
    error = HarmoniadError("data/mine: wrong input")
    error.stage = "validate"  # type: ignore[attr-defined]
    message = compose(Story(), "plant", error)
    assert message.status == "failed"
    assert message.paragraph == (
        "plant: the retraining failed. No image came in. It failed in the stage `validate`: data/mine: wrong input."
    )


@pytest.mark.parametrize(("ended", "status"), [("Waiting", "waiting"), ("Drift", "drift")])
def test_an_early_end_is_told(ended: str, status: str) -> None:
    drift = {"decision": "drift: a person should look", "reasons": ["gear is darker"], "skipped": ""}
    message = compose(Story(drift=drift, ended=ended), "plant")
    assert message.status == status
    assert "Drift: a person should look: gear is darker." in message.paragraph
