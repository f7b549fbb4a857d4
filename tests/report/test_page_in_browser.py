"""The report in headless Chromium, driven over its pipe: what it loads, how fast, on a phone and on paper."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harmoniad.report.page import write_report

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]

pytestmark = pytest.mark.skipif(
    not CHROMIUM or os.name == "nt", reason="needs Chromium (Debian: apt-get install chromium) and POSIX pipes"
)


class Browser:
    """Just enough of the DevTools protocol: JSON messages that end with a zero byte, on file descriptors 3 and 4."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._write = os.pipe()
        read, from_browser = os.pipe()
        self._read, self._rest, self._number, self._session = read, b"", 0, {}
        self.events: list[dict[str, Any]] = []
        command = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", command, CHROMIUM, *OPTIONS, f"--user-data-dir={profile}"],
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **self._session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != self._number:
            self.events.append(answer)
        return answer["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium has ended"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def open(self, page: Path, width: int = 1280) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    @property
    def complaints(self) -> list[str]:
        return [str(event) for event in self.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.process.terminate()
    started.process.wait(20)


@pytest.fixture(scope="module")
def page(make_evaluation, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "with space ü" / "index.html"
    write_report(
        path, *make_evaluation(("bottle", "a very_long_category_name_without_any_place_to_break", "Müll & <b>"), 2)
    )
    return path


@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_its_window_and_shows_all_pictures(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    assert browser.complaints == []  # neither scripts nor the content security policy
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    broken = "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth ? 0 : 1, () => 1)))"
    assert sum(browser.evaluate(broken)) == 0
    assert browser.evaluate("document.images.length") == 3 * 2 * (5 * 3 + 2 * 2)


def test_filters_and_enlarging(browser: Browser, page: Path) -> None:
    browser.open(page)
    choose = "(name, value) => {{ const s = document.querySelector(`[data-filter=${{name}}]`); s.value = value; {} }}"
    choose = choose.format("s.dispatchEvent(new Event('change', {bubbles: true}));")
    browser.evaluate(f"({choose})('category', 'Müll & <b>')")
    browser.evaluate(f"({choose})('group', 'missed defect')")
    visible = "[...document.querySelectorAll('.shot')].filter(s => s.checkVisibility())"
    assert browser.evaluate(f"{visible}.length") == 4
    assert browser.evaluate("document.querySelector('[data-count]').textContent") == "4 of 42 images"
    browser.evaluate(f"{visible}[0].querySelector('img').click()")
    assert browser.evaluate("document.querySelector('dialog').open")
    assert browser.evaluate("document.querySelectorAll('dialog img').length") == 3
    first = browser.evaluate("document.querySelector('dialog p').textContent")
    assert "hole score 0.1000, threshold 0.5000 data/Müll & <b>/test/hole/" in first
    browser.evaluate("document.querySelector('dialog [data-step=\"1\"]').click()")
    assert browser.evaluate("document.querySelector('dialog p').textContent") != first


def test_without_script_everything_but_the_extras_is_there(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate("document.querySelector('.filters').checkVisibility()") is False
    assert browser.evaluate("[...document.querySelectorAll('.shot')].every(s => s.checkVisibility())")


def test_printed_it_shows_the_worst_images_on_few_pages(browser: Browser, page: Path) -> None:
    browser.open(page)
    printed = base64.b64decode(browser.call("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") <= 8
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("[...document.querySelectorAll('.shot')].filter(s => s.checkVisibility()).length") == 24
    browser.call("Emulation.setEmulatedMedia", media="")


def test_500_images_open_within_2_seconds(browser: Browser, make_evaluation, tmp_path: Path) -> None:
    evaluation = make_evaluation(tuple("abcde"), 15, 163)
    assert len(evaluation[-1]) == 525
    write_report(tmp_path / "index.html", *evaluation)
    seconds: list[float] = []
    while min(seconds, default=9) >= 2 and len(seconds) < 5:  # the machine may be busy
        browser.open(tmp_path / "index.html")
        seconds.append(browser.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000)
    assert min(seconds) < 2, seconds
