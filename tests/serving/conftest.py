"""A server in this process, with a small real model: a `bolt` is always flagged, anything else passes."""

import copy
import datetime
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from harmoniad.inspector import Inspector
from harmoniad.loading import load
from harmoniad.serving.app import Service, create_app
from harmoniad.serving.settings import Settings

BASE = "http://127.0.0.1"


def png(width: int = 56, height: int = 40, seed: int = 0, kind: str = "PNG") -> bytes:
    """The content of an image's file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def one_day() -> None:
    """Begin no test shortly before midnight: the review page shows the images of the day."""
    while datetime.datetime.now().time() > datetime.time(23, 59):
        time.sleep(1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which is the current folder."""
    root = tmp_path / "with space ü"
    root.mkdir()
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="session")
def inspector(trained: Path) -> Inspector:
    """The model, loaded once."""
    return load(trained, "cpu")


@pytest.fixture
def make_service(trained: Path, project: Path, inspector: Inspector) -> Callable[..., Service]:
    """Make a service that has a model."""

    def make(**settings: Any) -> Service:
        service = Service(Settings(model=str(trained), device="cpu", kinds=("scratch", "other"), **settings))
        service.model._inspector = copy.copy(inspector)  # a test may change its own
        return service

    return make


@pytest.fixture
def make_client(make_service: Callable[..., Service]) -> Iterator[Callable[..., TestClient]]:
    """Make a client of a server with other settings."""
    clients = []

    def make(**settings: Any) -> TestClient:
        service = make_service(**settings)
        client = TestClient(create_app(service), BASE, raise_server_exceptions=False, follow_redirects=False)
        client.service = service  # type: ignore[attr-defined]
        clients.append(client.__enter__())
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client()
