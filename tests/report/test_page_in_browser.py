"""The report in headless Chromium, driven over its pipe: what it loads, how fast, on a phone and on paper."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from harmoniad.report.page import write_report
from tests.browser import Browser, needs_chromium

pytestmark = needs_chromium


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
