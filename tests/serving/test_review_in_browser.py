"""The review page in Chromium: keys, slider, filters, fingers, hostile names, posts of other sites."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn

from harmoniad.factory.inbox import read_inbox
from harmoniad.serving.app import Service, create_app
from tests.browser import needs_chromium, opened
from tests.serving.conftest import png

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_chromium
SCRIPT = "<img src=x onerror=alert(1)>"
BROKEN_OUT = "\"'><script>alert(2)</script>"  # of an attribute

QUOTED = BROKEN_OUT.replace('"', "%22")  # as clients send a file's name


@pytest.fixture
def address(make_service: Callable[..., Service]) -> Iterator[str]:
    """A server with four flagged images; the name of one is a script."""
    server = uvicorn.Server(uvicorn.Config(create_app(make_service()), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    where = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    for seed in range(4):
        send(where, f"{SCRIPT}.png" if seed == 3 else f"{seed}.png", seed)
    yield where
    server.should_exit = True
    thread.join(20)


def send(address: str, name: str, seed: int, category: str = "bolt") -> float:
    files = {"image": (name, png(200, 150, seed))}
    answer = httpx.post(f"{address}/predict", files=files, data={"category": category}, timeout=60)
    assert answer.status_code == 200
    return answer.json()["score"]


def labels() -> list[str]:
    return sorted(delivery.label for delivery in read_inbox(0).deliveries)


def press(page: "Page", key: str) -> None:
    """Press a key that leads to another page."""
    with page.expect_navigation():
        page.keyboard.press(key)


@pytest.mark.parametrize("width", [1280, 800])
def test_it_fits_its_window_and_loads_all(page: "Page", address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/review")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).length") == 0
    places = [figure.bounding_box() for figure in page.locator(".viewer figure").all()]
    assert len(places) == 3 and len({place["y"] for place in places if place}) == 1  # side by side
    heights = "Math.min(...[...document.querySelectorAll('button, select, .button')].map(b => b.offsetHeight))"
    assert page.evaluate(heights) >= 44  # a finger's width
    page.goto(f"{address}/docs")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert all(url.startswith(f"{address}/") for url in asked)  # nothing comes from elsewhere


def test_keys_and_undo(page: "Page", address: str, project: Path) -> None:
    page.goto(f"{address}/review")
    page.get_by_label("Your name").fill("Anna def")  # in which d and f are no decisions
    assert labels() == []
    page.locator("h1").click()
    press(page, "d")
    assert "Saved: defect" in page.locator(".done").inner_text()
    assert page.get_by_label("Your name").input_value() == "Anna def"
    assert labels() == ["defect"]
    press(page, "f")
    press(page, "u")
    assert labels() == ["defect", "good"]
    assert page.locator(".top p").inner_text().startswith("Flagged today: 1 open, 1 unsure, 2 decided")
    press(page, "z")
    assert "2 open, 0 unsure, 2 decided" in page.locator(".top p").inner_text()
    page.keyboard.press("Control+d")  # the browser's own
    shown = page.locator(".viewer .name").inner_text()
    press(page, "ArrowLeft" if page.locator("[rel=prev]").count() else "ArrowRight")
    assert page.locator(".viewer .name").inner_text() != shown
    assert labels() == ["defect", "good"]


def test_the_slider_fades_the_heat_map(page: "Page", address: str) -> None:
    page.goto(f"{address}/review")
    heat, slider = page.locator(".viewer .heat"), page.locator(".slider input")
    opacity = "image => Number(getComputedStyle(image).opacity)"
    assert heat.evaluate(opacity) == 1
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    dragged = heat.evaluate(opacity)
    assert 0.1 < dragged < 0.4
    page.keyboard.press("ArrowLeft")  # moves the slider and not to another image
    assert heat.evaluate(opacity) == pytest.approx(dragged - 0.01)
    press(page, "u")  # the other keys work there, too


def test_filters_by_category_and_score(page: "Page", address: str) -> None:
    scores = sorted(send(address, "again.png", seed, "nut") for seed in range(4))  # a nut passes, and is not kept
    page.goto(f"{address}/review")
    assert page.locator(".thumbs li").count() == 4
    page.get_by_label("Score from").fill(repr(scores[2]))
    page.get_by_label("Order").select_option("score")
    page.get_by_role("button", name="Show").click()
    found = [float(text) for text in page.locator(".thumbs .soft").all_inner_texts()]
    assert found == pytest.approx(scores[:1:-1], rel=1e-3)
    page.get_by_label("Score from").fill("")
    page.locator(".filters").get_by_label("Category").select_option("bolt")
    page.get_by_role("button", name="Show").click()
    assert page.locator(".thumbs li").count() == 4
    page.get_by_label("Score from").fill("1e6")
    page.get_by_role("button", name="Show").click()
    assert "Nothing to review here" in page.locator(".empty").inner_text()


@pytest.fixture
def evil_names(address: str, make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    """A flagged image whose name and category break out of an attribute."""
    monkeypatch.setattr("harmoniad.scoring.Threshold.of", lambda self, category: 0.0)
    send(address, f"{BROKEN_OUT}.png", 9, BROKEN_OUT)


def test_names_and_categories_are_text(page: "Page", address: str, project: Path, evil_names: None) -> None:
    page.goto(f"{address}/review?day=all")
    assert page.locator(".viewer .name").inner_text() == f"{QUOTED}.png"
    assert BROKEN_OUT in page.locator(".viewer .told").first.inner_text()
    assert f"{SCRIPT}.png" in names_of_all(page)
    page.goto(f"{address}/review?day=all")
    page.locator(".filters").get_by_label("Category").select_option(BROKEN_OUT)
    page.get_by_role("button", name="Show").click()
    assert page.locator(".thumbs li").count() == 1
    page.keyboard.press("d")  # the browser asks for a category that the model knows
    page.wait_for_timeout(200)
    assert labels() == []


def names_of_all(page: "Page") -> list[str]:
    """What stands below each image that is shown."""
    found = []
    for address in page.locator(".thumbs a").evaluate_all("links => links.map(link => link.href)"):
        page.goto(address)
        found.append(page.locator(".viewer .name").inner_text())
    return found


def test_a_page_of_another_site_decides_nothing(page: "Page", address: str, project: Path) -> None:
    page.goto(f"{address}/review")
    action = page.locator("form.decide").get_attribute("action")
    form_key = page.locator("form.decide [name=form_key]").get_attribute("value")
    fields = {"word": "false_alarm", "category": "bolt", "form_key": form_key}
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    evil = f'<form id="f" method="post" action="{address}{action}">{inputs}</form>'
    page.route("http://evil.example/", lambda route: route.fulfill(content_type="text/html", body=evil))
    page.goto("http://evil.example/")
    with page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        page.evaluate("document.getElementById('f').submit()")
    assert posted.value.status == 403
    assert labels() == []


def test_on_a_tablet_with_a_finger(browser: "Browser", address: str, project: Path) -> None:
    with opened(browser, 800, has_touch=True) as (page, complaints):
        page.goto(f"{address}/review")
        with page.expect_navigation():
            page.get_by_role("button", name="False alarm").tap()
        with page.expect_navigation():
            page.locator(".thumbs a").last.tap()
        with page.expect_navigation():
            page.get_by_role("button", name="Defect").tap()
        assert labels() == ["defect", "good"]
        assert complaints == []


def test_without_script_the_buttons_do_the_same(browser: "Browser", address: str, project: Path) -> None:
    with opened(browser, java_script_enabled=False) as (page, _):
        page.goto(f"{address}/review")
        assert not page.locator(".slider").is_visible()
        page.get_by_role("button", name="False alarm").click()
        assert "Saved: false alarm" in page.locator(".done").inner_text()
        assert labels() == ["good"]
