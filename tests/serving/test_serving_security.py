"""Images and requests that nobody should send."""

import asyncio
import gzip
import io
import json
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.serving.conftest import png


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def grey_png(width: int, height: int, rows: int) -> bytes:
    """A PNG that says it is so large, and holds so many rows of zeros."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes((width + 1) * rows), 9))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "a")
    return buffer.getvalue()


def many_scans() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 64)).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * 5000 + b"\xff\xd9"


def not_a_number() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 40), np.nan, np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def large_tile() -> bytes:
    """A TIFF of 16 × 16 pixels whose one tile has 67 million, all zero."""
    tile = zlib.compress(bytes(8192**2))
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 8192, 323: 8192, 324: 0, 325: len(tile)}
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tile


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (8, 8)).save(buffer, "GIF")
    return buffer.getvalue()


HOSTILE = {
    "bomb": (grey_png(60_000, 60_000, 1000), 413),
    "bomb below Pillow's own limit": (grey_png(9_000, 9_000, 9_000), 413),
    "100,000 × 1": (grey_png(100_000, 1, 1), 413),
    "1 × 100,000": (grey_png(1, 100_000, 100_000), 413),
    "truncated PNG": (png()[:-500], 422),
    "truncated JPEG": (png(kind="JPEG")[:300], 422),
    "empty": (b"", 422),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', 422),
    "HTML": (b"<!DOCTYPE html><script>alert(1)</script>", 422),
    "ZIP": (archive(), 422),
    "GIF": (gif(), 422),
    "PDF": (b"%PDF-1.4\n%%EOF", 422),
    "PNG and ZIP": (png() + archive(), 422),
    "JPEG and ZIP": (png(kind="JPEG") + archive(), 422),
    "JPEG and HTML": (png(kind="JPEG") + b"<script>alert(1)</script>", 422),
    "PNG and PHP": (png() + b"<?php system($_GET[0]); ?>", 422),
    "BMP and JavaScript": (b"BM=1;/*" + bytes(200) + b"*/alert(1)", 422),
    "random": (np.random.default_rng(0).bytes(5000), 422),
    "thousands of scans": (many_scans(), 422),
    "NaN": (not_a_number(), 422),
    "a small TIFF with a huge tile": (large_tile(), 422),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_images_are_refused_in_one_line_and_soon(client: TestClient, name: str) -> None:
    content, status = HOSTILE[name]
    started = time.process_time()
    answer = client.post("/predict", files={"image": ("part.png", content, "image/png")})
    assert time.process_time() - started < 3
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"detail"}
    assert "\n" not in answer.json()["detail"] and len(answer.json()["detail"]) < 200
    assert client.service.review.items() == []  # type: ignore[attr-defined]


def test_what_is_thin_but_not_too_long_is_judged(client: TestClient) -> None:
    for size in ((1, 1), (1, 500), (3000, 2)):
        assert client.post("/predict", files={"image": png(*size)}).status_code == 200


def test_an_image_with_more_pixels_than_allowed_is_refused(make_client: Callable[..., TestClient]) -> None:
    client = make_client(max_pixels=2_000, keep="none")
    assert client.post("/predict", files={"image": png(50, 40)}).status_code == 200
    answer = client.post("/predict", files={"image": png(50, 41)})
    assert (answer.status_code, answer.json()) == (
        413,
        {"detail": "the image is too large: at most 0.002 million pixels"},
    )


def test_a_request_that_is_too_large_is_refused_before_it_is_read(make_client: Callable[..., TestClient]) -> None:
    client = make_client(max_bytes=100_000)
    answer = client.post("/predict", files={"image": bytes(200_000)})
    assert (answer.status_code, answer.json()) == (413, {"detail": "the request is too large: at most 0.1 MB"})
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        while sent < 50_000_000:
            sent += 10_000
            yield bytes(10_000)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/predict", content=endless(), headers=headers)  # chunked: nothing says how long it is
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "multipart/form-data; boundary=x", 422),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x", 422),
        (b"--x", "multipart/form-data", 400),
        (
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n\r\n' * 2000 + b"--x--\r\n",
            "multipart/form-data; boundary=x",
            400,
        ),
        (gzip.compress(bytes(10_000_000)), "multipart/form-data; boundary=x", 400),
        (b'{"image": 1}', "application/json", 422),
        (b"image=1", "application/x-www-form-urlencoded", 422),
        (
            b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            422,
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="\xff\xfe"; filename="\xff"\r\n\r\nt\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            422,
        ),
    ],
)
def test_damaged_requests_are_refused(client: TestClient, body: bytes, kind: str, status: int) -> None:
    answer = client.post("/predict", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json()["detail"], str)


def test_only_with_the_token(make_client: Callable[..., TestClient]) -> None:
    client = make_client(token="sécret")
    image = {"files": {"image": png()}}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s"}, {"Authorization": "Bearer"}):
        answer = client.post("/predict", headers=headers, **image)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert (
        client.post("/predict", headers={"Authorization": "Bearer sécret".encode("latin-1")}, **image).status_code
        == 401
    )
    assert [client.get(path).status_code for path in ("/metrics", "/docs", "/openapi.json", "/")] == [401] * 4
    assert client.get("/health").status_code == 200
    assert client.get("/review").headers["location"] == "/review/login"


def test_people_give_the_token_once(make_client: Callable[..., TestClient]) -> None:
    client = make_client(token="secret")
    assert (
        client.post("/predict", headers={"Authorization": "Bearer secret"}, files={"image": png()}).status_code == 200
    )
    assert client.post("/review/items/x/undo").status_code == 401
    assert client.post("/review/login", data={"token": "wrong"}).status_code == 401
    answer = client.post("/review/login", data={"token": "secret"})
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 303
    assert "secret" not in cookie and "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/review" in cookie
    assert client.get("/review").status_code == 200
    assert client.post("/predict", files={"image": png()}).status_code == 401  # a cookie does not count there
    client.cookies.clear()
    assert client.get("/review", headers={"Cookie": f"harmoniad_session={'0' * 64}"}).status_code == 303


def test_loopback_answers_to_its_own_names_only(make_client: Callable[..., TestClient]) -> None:
    client = make_client(keep="none")
    for host, status in (("evil.example", 403), ("localhost:8000", 200), ("[::1]:8000", 200), ("", 403), ("[", 403)):
        assert client.get("/health", headers={"Host": host}).status_code == status
    assert (
        make_client(keep="none", allowed_hosts=("line1",)).get("/health", headers={"Host": "line1"}).status_code == 200
    )
    assert make_client(keep="none", host="0.0.0.0").get("/health", headers={"Host": "any"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "["}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_other_sites_cannot_post(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/predict", files={"image": png()}, headers=headers).status_code == 403
    assert client.post("/review/items/x/decision", headers=headers).status_code == 403


def test_no_other_site_may_read(client: TestClient) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/predict", headers=asked).status_code == 405
    answer = client.get("/health", headers={"Origin": "https://evil.example"})
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "%2e%2e%2fx", "\x00", "a" * 300]
)
def test_no_name_of_a_request_reaches_the_file_system(client: TestClient, project, name: str) -> None:
    body = {"files": {"image": (name, png())}, "data": {"category": name[:100]}}
    assert client.post("/predict", **body).status_code == 200
    for address in (f"/static/{name}", f"/review/items/{name}/photo.jpg", f"/review/items/x/{name}"):
        assert client.get(address.replace("\x00", "%00")).status_code == 404
    assert not (project / "data").exists()


MUTATIONS = 60


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_mutated_images_give_no_500(client: TestClient) -> None:
    from benchmarks.fuzz_serving import mutations

    statuses = []
    for content in mutations(MUTATIONS, seed=1):
        answer = client.post("/predict", files={"image": content})
        statuses.append(answer.status_code)
        assert answer.status_code in (200, 413, 422), answer.text
        json.loads(answer.text)
    assert 422 in statuses and 200 in statuses


def test_who_sends_too_slowly_is_not_waited_for(
    make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmoniad.serving.guard.BODY_SECONDS", 0.1)
    client = make_client(keep="none")
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"--x", "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(client.app(scope | {"scheme": "http", "server": ("127.0.0.1", 80)}, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 408
    assert dict(sent[0]["headers"])[b"connection"] == b"close"
