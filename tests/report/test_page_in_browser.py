"""The report in Chromium: what it loads, how fast, on a phone and on paper."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harmoniad.report.page import write_report
from tests.browser import needs_chromium, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_chromium
VISIBLE = "shots => shots.filter(shot => shot.checkVisibility()).length"


@pytest.fixture(scope="module")
def report(make_evaluation, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("report") / "with space ü" / "index.html"
    write_report(
        path, *make_evaluation(("bottle", "a_very_long_category_name_without_any_place_to_break", "Müll & <b>"), 2)
    )
    return path.as_uri()


@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_its_window_and_shows_all_pictures(page: "Page", report: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(report)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    broken = "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth ? 0 : 1, () => 1)))"
    assert sum(page.evaluate(broken)) == 0
    assert page.locator("img").count() == 3 * 2 * (5 * 3 + 2 * 2)


def test_filters_and_enlarging(page: "Page", report: str) -> None:
    page.goto(report)
    page.locator("[data-filter=category]").select_option("Müll & <b>")
    page.locator("[data-filter=group]").select_option("missed defect")
    assert page.locator(".shot").evaluate_all(VISIBLE) == 4
    assert page.locator("[data-count]").inner_text() == "4 of 42 images"
    page.locator(".shot:visible img").first.click()
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    assert dialog.locator("img").count() == 3
    first = dialog.locator("p").text_content() or ""
    assert "hole score 0.1000, threshold 0.5000 data/Müll & <b>/test/hole/" in first
    page.locator("dialog [data-step='1']").click()
    assert dialog.locator("p").text_content() != first


def test_without_script_everything_but_the_extras_is_there(browser: "Browser", report: str) -> None:
    with opened(browser, java_script_enabled=False) as (page, _):
        page.goto(report)
        assert not page.locator(".filters").is_visible()
        assert page.locator(".shot:visible").count() == page.locator(".shot").count()


def test_printed_it_shows_the_worst_images_on_few_pages(page: "Page", report: str) -> None:
    page.goto(report)
    printed = page.pdf(prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") <= 8
    page.emulate_media(media="print")
    assert page.locator(".shot").evaluate_all(VISIBLE) == 24


def test_500_images_open_at_once(page: "Page", make_evaluation, tmp_path: Path) -> None:
    evaluation = make_evaluation(tuple("abcde"), 15, 163)
    assert len(evaluation[-1]) == 525
    write_report(tmp_path / "index.html", *evaluation)
    seconds: list[float] = []
    # Two seconds on a machine of its own; two workers of the suite on two slow cores took 2.2 to 3.4.
    while min(seconds, default=9) >= 4 and len(seconds) < 5:
        page.goto((tmp_path / "index.html").as_uri())
        seconds.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000)
    assert min(seconds) < 4, seconds
