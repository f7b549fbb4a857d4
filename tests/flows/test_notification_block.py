"""A notification block that lies on a real Prefect server and calls a real small web server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from harmoniad.factory.notify import send
from harmoniad.factory.story import Message
from harmoniad.params import Notify

pytestmark = pytest.mark.xdist_group("prefect")  # one server for all

MESSAGE = Message("kept", "plant: refused", "plant: version 7 was refused.", {"MLflow": "http://mlflow/7"})
RECEIVED: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        RECEIVED.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(500 if self.path == "/broken" else 200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def people() -> Iterator[str]:
    RECEIVED.clear()
    with HTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


def save_block(name: str, url: str) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    block = CustomWebhookNotificationBlock(
        name=name, url=url, json_data={"title": "{{subject}}", "text": "{{body}}"}, timeout=10
    )
    block.save(name, overwrite=True)


def test_a_block_is_told_and_one_that_fails_or_is_missing_is_a_warning(toy: Any, server: str, people: str) -> None:
    save_block("factory", people)
    assert send(MESSAGE, Notify(prefect_block="custom-webhook/factory")) == [
        "notify.prefect_block (custom-webhook/factory) was told"
    ]
    assert RECEIVED == [{"title": "plant: refused", "text": "plant: version 7 was refused.\nMLflow: http://mlflow/7"}]

    save_block("broken", f"{people}/broken")
    (broken,) = send(MESSAGE, Notify(prefect_block="custom-webhook/broken"))
    assert broken.startswith("warning: notify.prefect_block (custom-webhook/broken) failed")
    (missing,) = send(MESSAGE, Notify(prefect_block="custom-webhook/nobody"))
    assert missing.startswith("warning: notify.prefect_block (custom-webhook/nobody)") and people not in missing
