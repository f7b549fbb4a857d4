import io
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harmoniad.report.gallery import panels_of
from harmoniad.report.heatmap import Scale
from harmoniad.report.page import TEMPLATES, write_report

EVIL = "<script>alert(1)</script>"
CATEGORIES = ("bottle", EVIL)


class Reader(HTMLParser):
    """Collects tags, what is loaded from where, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def evaluation(make_evaluation) -> tuple:
    """An evaluation that no test changes."""
    return make_evaluation(CATEGORIES)


@pytest.fixture(scope="module")
def html(evaluation, tmp_path_factory) -> str:
    return report(tmp_path_factory.mktemp("report"), *evaluation)


def report(folder: Path, *inputs) -> str:
    path = folder / "with space ü" / "index.html"
    write_report(path, *inputs)
    return path.read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_outside(html: str) -> None:
    reader = Reader(html)
    assert not {tag for tag, _ in reader.tags} & {"link", "iframe", "object", "embed", "base"}
    for _, attributes in reader.tags:
        for name, value in attributes.items():
            assert name not in {"srcset", "action", "href"}
            assert not name.startswith("on")
            if name == "src":
                assert str(value).startswith("data:image/webp;base64,")
            if name == "xlink:href":
                assert str(value).startswith("#")
    outside = re.sub(r"base64,[^\"]*|url\(#\w+\)", "", html)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", outside)
    assert "default-src 'none'" in html


def test_names_are_escaped(evaluation, tmp_path) -> None:
    metrics, threshold, scores, pro, panels = evaluation
    scores = scores.assign(
        defect=scores["defect"].replace("hole", '"><img src=x onerror=alert(2)>'),
        path=scores["path"].str.replace("test", "<b>&amp;</b>"),
    )
    html = report(tmp_path, metrics | {"encoder": "<em>encoder</em>"}, threshold, scores, pro, panels)
    reader = Reader(html)
    assert len(reader.all("script")) == 1
    assert not reader.all("em")
    assert len(reader.all("img")) == sum(len(each) for each in panels.values())
    assert all("onerror" not in attributes for attributes in reader.all("img"))
    for text in (EVIL, '"><img src=x onerror=alert(2)>', "<b>&amp;</b>", "<em>encoder</em>"):
        assert text in reader.text


def test_the_verdict_by_hand(html: str) -> None:
    text = Reader(html).text
    # 4 of 10 defects missed, 2 of 4 good parts flagged: the shares are exact, the ranges come from the bootstrap.
    assert re.search(r"Of 100 defective parts about 40 \(1\d–\d\d\) will be missed\.", text)
    assert re.search(r"Of 100 good parts about 50 \(0–100\) will be flagged\.", text)
    assert "Missed defects 4 of 10 defective test parts were let pass" in text
    assert "False alarms 2 of 4 good test parts were flagged, in line with what is tolerated (5 of 100)" in text
    assert "Test images 14, fingerprint 5678ef00" in text
    for words in ("Model harmoniad, seed 3", "Encoder timm:tiny, 256 px", "Weights embedded", "fingerprint 1234abcd"):
        assert words in text


def test_the_tables_by_hand(html: str) -> None:
    text = Reader(html).text
    # found with its range, flagged with its range, image AUROC with its range, AUPRO, threshold, held-out images
    row = r"60 % \(20–100\) 3 of 5 50 % \(0–100\) 1 of 2 0\.912 \(0\.850–0\.990\) – 0\.5000 "
    assert re.search(rf"bottle {row}19\*", text)
    assert re.search(rf"{re.escape(EVIL)} {row}20 ", text)
    assert re.search(r"hole bottle 33 % \(0–100\) 1 of 3", text)
    assert re.search(r"dent bottle 100 % \(16–100\) 2 of 2", text)
    assert re.search(r"0\.03 to 0\.1 % 33 % \(0–67\) 2 of 6 1 to 3 % 100 % \(40–100\) 4 of 4", text)
    assert "mean 0.912 0.912 0.912 0.912 0.912 0.912 –" in text
    assert "None" not in text
    assert "nan" not in text


def test_the_gallery_is_sorted_worst_first(make_evaluation, tmp_path) -> None:
    text = Reader(report(tmp_path, *make_evaluation())).text
    gallery = text[text.index("The images, worst first") :]
    shown = re.findall(r"(Missed defects|False alarms|Judged rightly) \((\d)\)|score ([\d.]+), threshold", gallery)
    assert [group or score for group, _, score in shown[:9]] == [
        "Missed defects", "0.1000", "0.3000", "False alarms", "0.7000", "Judged rightly", "0.6000", "0.2500", "0.8000",
    ]  # fmt: skip
    assert [total for _, total, _ in shown if total] == ["2", "1", "4"]


def test_pictures_are_webp_of_the_stated_size(html: str) -> None:
    for picture in Reader(html).all("img"):
        content = b64decode(str(picture["src"]).split(",")[1])
        with Image.open(io.BytesIO(content)) as image:
            assert image.format == "WEBP"
            assert (str(image.width), str(image.height)) == (picture["width"], picture["height"])


def test_the_page_is_accessible(html: str) -> None:
    reader = Reader(html)
    assert reader.all("html") == [{"lang": "en"}]
    assert all(attributes["alt"] for attributes in reader.all("img"))
    assert all(attributes["scope"] in {"row", "col"} for attributes in reader.all("th"))
    charts = [figure for figure in reader.all("figure") if "chart" in str(figure["class"])]
    assert len(charts) == len(reader.all("svg")) == 5
    assert all(figure["aria-label"] for figure in charts)


def test_the_same_inputs_give_the_same_bytes(evaluation, html: str, tmp_path) -> None:
    assert report(tmp_path, *evaluation) == html


def test_scores_read_back_from_csv_give_the_same_page(evaluation, html: str, tmp_path) -> None:
    metrics, threshold, scores, pro, panels = evaluation
    scores.to_csv(tmp_path / "scores.csv", index=False)
    assert report(tmp_path, metrics, threshold, pd.read_csv(tmp_path / "scores.csv"), pro, panels) == html


def test_without_pictures_there_is_no_gallery(evaluation, tmp_path) -> None:
    reader = Reader(report(tmp_path, *evaluation[:4], {}))
    assert not reader.all("img")
    assert "worst first" not in reader.text


@pytest.mark.parametrize(("kept", "missing"), [("good", "defective"), ("defect", "good")])
def test_only_good_or_only_defective_images(make_evaluation, tmp_path, kept: str, missing: str) -> None:
    metrics, threshold, scores, pro, _ = make_evaluation()
    none = dict.fromkeys(metrics["mean"])
    metrics |= {"mean": none, "categories": {"bottle": none}}
    text = Reader(report(tmp_path, metrics, threshold, scores[scores["label"] == kept], pro[:0], {})).text
    assert f"The test has no {missing} parts: nobody knows how many will be" in text
    assert "If the threshold were another" not in text
    assert ("Which defects are found" in text) is (kept == "defect")


def test_defects_without_masks_have_no_size(make_evaluation, tmp_path) -> None:
    metrics, threshold, scores, pro, _ = make_evaluation()
    image, heat = np.zeros((20, 60, 3), np.uint8), np.zeros((20, 60), np.float32)
    panels = {2: panels_of(image, heat, None, scale=Scale(0.1, 0.5), longest_side=20)}
    reader = Reader(report(tmp_path, metrics, threshold, scores.assign(defect_share=0.0), pro[:0], panels))
    assert "No defect is marked in the test images" in reader.text
    assert "defect is not marked" in reader.text
    assert any("strip" in str(figure["class"]) for figure in reader.all("figure"))


def test_many_categories_share_grey(make_evaluation, tmp_path) -> None:
    text = Reader(report(tmp_path, *make_evaluation(tuple(f"part {number}" for number in range(8))))).text
    assert "The six categories that are told apart worst are in colour" in text


def test_an_installed_package_has_all_templates() -> None:
    import tomllib

    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    package = TEMPLATES.parents[1]
    patterns = settings["tool"]["setuptools"]["package-data"]["harmoniad"]
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    assert {path.name for path in TEMPLATES.iterdir()} == {path.name for path in packed if TEMPLATES in path.parents}


def test_more_metrics_have_columns_and_an_explanation(make_evaluation, tmp_path) -> None:
    metrics, *rest = make_evaluation()
    figures = metrics["mean"] | {"spro": 0.75, "aupimo": None, "recall_low": 0.1}
    text = Reader(report(tmp_path, metrics | {"mean": figures, "categories": {"bottle": figures}}, *rest)).text
    assert "AUPRO AUPIMO sPRO bottle 0.912 0.912 0.912 0.912 0.912 0.912 – – 0.750 mean" in text
    assert "sPRO As AUPRO to 5 %, but" in text
    assert "Balanced accuracy" not in text
