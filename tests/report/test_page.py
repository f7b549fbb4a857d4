import io
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harmoniad.errors import HarmoniadError
from harmoniad.report import page
from harmoniad.report.heatmap import CAPTION_HEIGHT, Caption, Scale, draw, save
from harmoniad.report.page import write_report
from harmoniad.report.tables import METRICS

EVIL = "<script>alert(1)</script>"


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


def make_project(folder: Path, categories: tuple[str, ...] = ("bottle", EVIL)) -> tuple[dict, dict, pd.DataFrame]:
    """Inputs of a report with one image of each outcome and a held-out image in each category."""
    images = [("good", 0.2), ("good", 0.7), ("dent", 0.9), ("dent", 0.8), ("hole", 0.1), ("hole", 0.3), ("hole", 0.6)]
    rows = []
    for number, category in enumerate(categories):
        for place, (defect, score) in enumerate(images):
            heat = f"results/evaluate/heat maps ü/{number}/{defect}-{place}.png"
            caption = Caption(category, defect, score, 0.5, score > 0.5)
            photo, values = np.full((60, 80, 3), 90 + place, np.uint8), np.full((60, 80), score, np.float32)
            save(folder / heat, draw(photo, values, None, scale=Scale(0.1, 0.5), caption=caption))
            rows.append((f"data/{category}/test/{defect}/{place}.png", category, "test", defect, score, heat))
        rows.append((f"data/{category}/train/good/0.png", category, "held_out", "good", 99.0, ""))
    scores = pd.DataFrame(rows, columns=["path", "category", "split", "defect", "score", "heatmap"])
    scores = scores.assign(
        label=np.where(scores["defect"] == "good", "good", "defect"),
        threshold=0.5,
        is_anomalous=scores["score"] > 0.5,
    )
    figures = dict.fromkeys(METRICS, 0.91234) | {"aupro": None}
    metrics = {
        "mean": figures,
        "categories": dict.fromkeys(categories, figures),
        "encoder": "timm:tiny",
        "weights": "embedded",
        "detector": "harmoniad",
        "resolution": 256,
        "data_fingerprint": "1234abcd",
        "test_fingerprint": "5678ef00",
        "seed": 3,
    }
    threshold = {"false_positive_rate": 0.05, "held_out_images": {categories[0]: 19, categories[-1]: 20}}
    return metrics, threshold, scores


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> tuple[Path, dict, dict, pd.DataFrame]:
    """A project that no test changes: its folder and the inputs of its report."""
    folder = tmp_path_factory.mktemp("project")
    return folder, *make_project(folder)


@pytest.fixture(scope="module")
def html(project) -> str:
    return report(*project)


def report(folder: Path, *inputs) -> str:
    path = folder / "with space ü" / "report.html"
    write_report(path, *inputs, project=folder)
    return path.read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_outside(html: str) -> None:
    reader = Reader(html)
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in reader.tags:
        for name, value in attributes.items():
            assert name not in {"srcset", "action", "onload", "onerror"}
            if name in {"src", "href"}:
                assert str(value).startswith(("data:image/jpeg;base64,", "#category-"))
    assert not re.search(r"https?:|url\(|@import|//[a-z]", re.sub(r"base64,[^\"]*", "", html))
    assert "default-src 'none'" in html


def test_names_are_escaped(project) -> None:
    folder, metrics, threshold, scores = project
    scores = scores.assign(
        defect=scores["defect"].replace("hole", '"><img src=x onerror=alert(2)>'),
        path=scores["path"].str.replace("test", "<b>&amp;</b>"),
    )
    reader = Reader(report(folder, metrics | {"encoder": "<em>encoder</em>"}, threshold, scores))
    assert not {"script", "em"} & {tag for tag, _ in reader.tags}
    assert len(reader.all("img")) == 14
    assert all("onerror" not in attributes for attributes in reader.all("img"))
    assert len(reader.all("b")) == 4  # the figures at the top, none from a name
    for text in (EVIL, '"><img src=x onerror=alert(2)>', "<b>&amp;</b>", "<em>encoder</em>"):
        assert text in reader.text


def test_counts_by_hand(html: str) -> None:
    text = Reader(html).text
    assert "Defects found 60.0 % 6 of 10; 4 missed" in text
    assert "False alarms 50.0 % 2 of 4 good parts; 5 % tolerated" in text
    # threshold, held-out images, defects, found, missed, good parts, passed, false alarms, false alarm rate
    assert "bottle 0.5 19* 5 3 2 2 1 1 50.0 %" in text
    assert f"{EVIL} 0.5 20 5 3 2 2 1 1 50.0 %" in text
    assert "all 10 6 4 4 2 2 50.0 %" in text
    assert "bottle hole 3 2 1 33.3 %" in text
    assert "Of the other 2 kinds every defect is found." in text


def test_the_kind_that_is_found_least_comes_first(project) -> None:
    folder, metrics, threshold, scores = project
    dent = scores["score"] == 0.8
    scores = scores.assign(score=scores["score"].mask(dent, 0.4), is_anomalous=scores["is_anomalous"] & ~dent)
    text = Reader(report(folder, metrics, threshold, scores)).text
    assert 0 < text.index("bottle hole 3 2 1 33.3 %") < text.index(f"{EVIL} dent 2 1 1 50.0 %")


def test_the_tables_say_what_was_measured_with_what(html: str) -> None:
    text = Reader(html).text
    for words in (
        "Detector harmoniad", "Encoder timm:tiny", "Weights embedded", "Resolution 256 px",
        "Data fingerprint 1234abcd", "Test fingerprint 5678ef00", "Seed 3",
    ):  # fmt: skip
        assert words in text
    assert "bottle 0.912 0.912 0.912 0.912 0.912 0.912 –" in text
    assert "mean 0.912 0.912 0.912 0.912 0.912 0.912 –" in text
    assert "None" not in text
    assert "nan" not in text


def test_the_gallery_shows_the_most_instructive_first(tmp_path) -> None:
    text = Reader(report(tmp_path, *make_project(tmp_path, ("bottle",)))).text
    gallery = text[text.index("Why it flagged a part") :]
    shown = re.findall(r"(missed defect|false alarm|defect found|good part passed) (?:(\w+): )?score ([\d.]+)", gallery)
    assert shown == [
        ("missed defect", "hole", "0.1"),
        ("missed defect", "hole", "0.3"),
        ("false alarm", "", "0.7"),
        ("defect found", "hole", "0.6"),
        ("defect found", "dent", "0.8"),
        ("defect found", "dent", "0.9"),
        ("good part passed", "", "0.2"),
    ]


def test_pictures_are_the_heat_maps_without_their_caption(tmp_path) -> None:
    inputs = make_project(tmp_path, ("bottle",))
    first = Reader(report(tmp_path, *inputs)).all("img")[0]
    original = Image.open(tmp_path / "results/evaluate/heat maps ü/0/hole-4.png")
    shown = Image.open(io.BytesIO(b64decode(str(first["src"]).split(",")[1])))
    size = round(original.width * 0.8), round((original.height - CAPTION_HEIGHT) * 0.8)
    assert shown.size == size
    assert (first["width"], first["height"]) == tuple(str(length) for length in size)
    assert shown.getpixel((100, 100)) == pytest.approx((94, 94, 94), abs=3)


def test_the_page_is_accessible(html: str) -> None:
    reader = Reader(html)
    assert reader.all("html") == [{"lang": "en"}]
    assert all(attributes["alt"] for attributes in reader.all("img"))
    assert all(attributes["scope"] in {"row", "col"} for attributes in reader.all("th"))
    assert len(reader.all("caption")) == len(reader.all("table")) == 3
    assert all(attributes["aria-label"] for attributes in reader.all("svg"))
    links = {str(attributes["href"])[1:] for attributes in reader.all("a")}
    assert links == {attributes["id"] for _, attributes in reader.tags if "id" in attributes}


def test_the_same_inputs_give_the_same_bytes(project, html: str) -> None:
    assert report(*project) == html


def test_scores_read_back_from_csv_give_the_same_page(project, html: str, tmp_path) -> None:
    folder, metrics, threshold, scores = project
    scores.to_csv(tmp_path / "scores.csv", index=False)
    read = pd.read_csv(tmp_path / "scores.csv")  # here an empty heat map is NaN
    assert report(folder, metrics, threshold, read) == html


def test_the_page_stays_small_and_every_category_shows_its_best(project, html: str, monkeypatch) -> None:
    sizes = [len(str(image["src"])) for image in Reader(html).all("img")]
    monkeypatch.setattr(page, "MAX_PICTURES", 3 * max(sizes))
    reader = Reader(report(*project))
    shown = [str(image["alt"]) for image in reader.all("img")]
    assert len(shown) == 3
    assert sum(alt.startswith("bottle, hole") for alt in shown) in (1, 2)
    assert reader.text.count("more in the folder of heat maps") == 2


def test_a_report_without_heat_maps_has_no_gallery(project) -> None:
    folder, metrics, threshold, scores = project
    reader = Reader(report(folder, metrics, threshold, scores.assign(heatmap="")))
    assert not reader.all("img")
    assert "Why it flagged a part" not in reader.text


def test_only_good_images_or_only_found_defects(project) -> None:
    folder, metrics, threshold, scores = project
    good = Reader(report(folder, metrics, threshold, scores[scores["label"] == "good"])).text
    assert "Defects found – 0 of 0" in good
    assert "Kinds of defect" not in good
    found = Reader(report(folder, metrics, threshold, scores[scores["score"] > 0.5])).text
    assert "None: every defect of all 4 kinds is found." in found


@pytest.mark.parametrize("content", [None, b"", b"not an image"])
def test_a_missing_or_broken_heat_map_is_named(tmp_path, content: bytes | None) -> None:
    inputs = make_project(tmp_path)
    broken = tmp_path / "results/evaluate/heat maps ü/1/dent-2.png"
    broken.unlink()
    if content is not None:
        broken.write_bytes(content)
    with pytest.raises(HarmoniadError, match=r"dent-2\.png: this heat map is missing or broken\. Run `dvc repro"):
        report(tmp_path, *inputs)
    assert not (tmp_path / "with space ü").exists()
