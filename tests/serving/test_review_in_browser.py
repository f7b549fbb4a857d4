"""The review page in headless Chromium: keys, slider, undo, and what its content security policy lets through."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from harmoniad.factory.inbox import read_inbox
from harmoniad.serving.app import Service, create_app
from tests.browser import Browser, needs_chromium
from tests.serving.conftest import png

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.process.terminate()
    started.process.wait(20)


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
        name = "<img src=x onerror=alert(1)>.png" if seed == 3 else f"{seed}.png"
        files = {"image": (name, png(200, 150, seed))}
        sent = httpx.post(f"{where}/predict", files=files, data={"category": "bolt"}, timeout=60)
        assert sent.status_code == 200
    yield where
    server.should_exit = True
    thread.join(20)


def press(key: str) -> str:
    return f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))"


@pytest.mark.parametrize("width", [1280, 800])
def test_it_fits_its_window_and_loads_all(browser: Browser, address: str, width: int) -> None:
    browser.open(f"{address}/review", width)
    assert browser.complaints == []  # neither scripts nor the content security policy
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).length") == 0
    assert browser.evaluate("document.querySelectorAll('.viewer figure').length") == 3
    tops = "new Set([...document.querySelectorAll('.viewer figure')].map(f => f.getBoundingClientRect().top)).size"
    assert browser.evaluate(tops) == 1  # side by side
    heights = "Math.min(...[...document.querySelectorAll('button, select, .button')].map(b => b.offsetHeight))"
    assert browser.evaluate(heights) >= 44  # a finger's width
    browser.open(f"{address}/docs", width)
    assert browser.complaints == []
    assert browser.evaluate("document.documentElement.scrollWidth") == width


def test_keys_slider_and_undo(browser: Browser, address: str, project: Path) -> None:
    browser.open(f"{address}/review")
    slide = "(() => { const r = document.querySelector('.slider input'); r.value = 25; "
    browser.evaluate(slide + "r.dispatchEvent(new Event('input')); })()")
    assert browser.evaluate("getComputedStyle(document.querySelector('.heat')).opacity") == "0.25"
    browser.evaluate("document.querySelector('[name=who]').value = 'Anna'")
    browser.do(press("d"))
    assert "Saved: defect" in browser.evaluate("document.querySelector('.done').innerText")
    assert browser.evaluate("document.querySelector('.viewer [name=who]').value") == "Anna"
    assert [delivery.label for delivery in read_inbox(0).deliveries] == ["defect"]
    browser.do(press("f"))
    browser.do(press("u"))
    assert sorted(delivery.label for delivery in read_inbox(0).deliveries) == ["defect", "good"]
    assert browser.evaluate("document.querySelector('.top p').innerText").startswith(
        "Flagged today: 1 open, 1 unsure, 2 decided"
    )
    browser.do(press("z"))
    assert "2 open, 0 unsure, 2 decided" in browser.evaluate("document.querySelector('.top p').innerText")
    browser.do(
        press("ArrowLeft") if browser.evaluate("!!document.querySelector('[rel=prev]')") else press("ArrowRight")
    )
    typing = "new KeyboardEvent('keydown', {key: 'f', bubbles: true})"
    browser.evaluate(f"document.querySelector('[name=who]').dispatchEvent({typing})")
    time.sleep(0.2)
    assert len(read_inbox(0).deliveries) == 2  # an f in a name is no decision
    assert browser.complaints == []


def test_without_script_the_buttons_do_the_same(browser: Browser, address: str, project: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(f"{address}/review")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate("document.querySelector('.slider').checkVisibility()") is False
    browser.do("document.querySelector('.good').click()")
    assert [delivery.label for delivery in read_inbox(0).deliveries] == ["good"]
