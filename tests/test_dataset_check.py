import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from harmoniad.cli import cli
from harmoniad.data.manifest import COLUMNS, MANIFEST_DIR, read_table
from harmoniad.dataset_check import Checked, check
from harmoniad.errors import HarmoniadError
from harmoniad.params import Params, Prepare, Severities, Validate
from harmoniad.stages import prepare

PARAMS = Params(prepare=Prepare(held_out=0.2), validate=Validate(min_train_images=4, min_side=8))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two categories in which nothing is wrong."""
    source = tmp_path / "Prüf stand"
    for category in ("Rad groß", "bolt"):
        write_images(source / category / "train" / "good", 8)
        write_images(source / category / "test" / "good", 2)
        write_images(source / category / "test" / "bent", 2)
        for number in range(2):
            write_mask(source / category / "ground_truth" / "bent" / f"{number:03d}_mask.png")
    return source


def write_images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        seed = [
            *"/".join(folder.parts[-3:]).encode(),
            number,
        ]  # not of pytest's own folder, which changes with each run
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")


def write_mask(path: Path, size: tuple[int, int] = (20, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, dtype=np.uint8)
    mask[3:6] = 255
    Image.fromarray(mask).save(path)


def spoil(source: Path) -> None:
    good = source / "bolt" / "train" / "good"
    (good / "000.png").write_text("nothing")
    shutil.copy(good / "001.png", source / "bolt" / "test" / "good" / "000.png")
    write_mask(source / "bolt" / "ground_truth" / "bent" / "000_mask.png", (5, 6))
    (source / "bolt" / "ground_truth" / "bent" / "001_mask.png").unlink()
    (source / "empty" / "train" / "good").mkdir(parents=True)
    (source / "elsewhere").mkdir()
    shutil.copy(good / "002.png", source / "elsewhere" / "x.png")


class _Page(HTMLParser):
    """Everything that a browser would fetch or run, and the text that it shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe")
        self.sources += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(checked: Checked) -> _Page:
    return _Page(checked.page.read_text(encoding="utf-8"))


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_a_sound_data_set(project: Path, source: Path) -> None:
    before = tree(source)
    checked = check(source, PARAMS)
    assert tree(source) == before
    assert checked.stops == 0
    table = read_table(project / "check-Prüf stand" / "manifest.csv")
    assert checked.lines[0].startswith(
        "check: Prüf stand (layout mvtec): 24 images, 4 of them with defects, in 2 categories; "
    )
    assert checked.lines[1:] == [
        "page: check-Prüf stand/index.html (beside it manifest.csv, flagged.csv, report.json and data_docs/index.html)"
    ]
    assert sorted(path.name for path in checked.page.parent.iterdir()) == [
        "data_docs", "flagged.csv", "index.html", "manifest.csv", "near_duplicates.csv", "report.json",
    ]  # fmt: skip
    assert list(table.columns) == list(COLUMNS)
    assert table["path"][0] == "Rad groß/test/bent/000.png"
    assert table["mask"][0] == "Rad groß/ground_truth/bent/000_mask.png"
    assert (project / "check-Prüf stand" / "data_docs" / "index.html").is_file()
    assert not MANIFEST_DIR.exists()
    page = page_of(checked)
    assert "Fit for training. No check found anything." in " ".join(page.text.split())
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert len([source for source in page.sources if source.startswith("data:image/svg")]) == 6
    assert len([source for source in page.sources if source.startswith("data:image/jpeg")]) == 24
    assert "brightness" not in {entry["name"] for entry in report_of(checked)["expectations"]}


def report_of(checked: Checked) -> dict:
    return json.loads((checked.page.parent / "report.json").read_text(encoding="utf-8"))


def test_findings_are_named_in_the_output_on_the_page_and_in_the_tables(project: Path, source: Path) -> None:
    spoil(source)
    checked = check(source, PARAMS, out=project / "out")
    errors = [line for line in checked.lines if line.startswith("error: ")]
    assert errors == [
        "error: decodable: bolt/train/good/000.png (is not an image (png, jpg, bmp, tiff or webp))",
        "error: duplicates: bolt/test/good/000.png (same as bolt/train/good/001.png)",
        "error: mask_size: bolt/test/bent/000.png (mask 6×5, image 24×20)",
        "error: min_train_images: empty (0 good training images, but 4 are needed)",
    ]
    assert checked.stops == len(errors)
    assert "warning: mask_missing: bolt/test/bent/001.png" in checked.lines
    assert "note: 1 image file has no place in the layout, such as elsewhere/x.png." in checked.lines
    assert checked.lines[-1].startswith(f"page: {(project / 'out').as_posix()}/index.html")

    flagged = pd.read_csv(project / "out" / "flagged.csv", keep_default_na=False)
    assert flagged["check"].tolist() == [*(line.split(": ")[1] for line in errors[:2]), "mask_missing", "mask_size", "min_train_images"]  # fmt: skip  # noqa: E501
    assert flagged["reason"][0] == "is not an image (png, jpg, bmp, tiff or webp)"
    text = " ".join(page_of(checked).text.split())
    assert "Not fit for training yet." in text
    for words in ("bolt/train/good/000.png – is not an image", "same as bolt/train/good/001.png", "elsewhere/x.png"):
        assert words in text
    assert report_of(checked)["success"] is False


def test_near_duplicates_are_shown_beside_what_they_look_like(project: Path, source: Path) -> None:
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6), dtype=np.uint8)).resize((64, 64))
    smooth.save(source / "bolt/train/good/900.png")
    smooth.save(source / "bolt/test/good/900.jpg", quality=95)
    checked = check(source, PARAMS)
    (warning,) = [line for line in checked.lines if line.startswith("warning: ")]
    assert warning.startswith("warning: near_duplicates: bolt/test/good/900.jpg (looks like bolt/train/good/900.png, ")
    assert checked.stops == 0
    page = page_of(checked)
    assert "Fit for training, with 1 warning." in " ".join(page.text.split())
    alternatives = re.findall(r'alt="([^"]*900[^"]*)"', checked.page.read_text(encoding="utf-8"))
    assert alternatives[:2] == ["bolt/test/good/900.jpg", "bolt/train/good/900.png"]


def test_a_second_check_reads_no_image_and_writes_the_same_page(
    project: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = check(source, PARAMS).page.read_bytes()

    def refuse(path: Path, content: bytes | None = None) -> None:
        raise AssertionError(f"{path} was read")

    for module in ("harmoniad.data.measure", "harmoniad.data.masks", "harmoniad.data.thumbnails"):
        monkeypatch.setattr(f"{module}.{'mask_values' if module.endswith('masks') else 'open_image'}", refuse)
    assert check(source, PARAMS).page.read_bytes() == first


def test_the_pipeline_takes_what_the_check_has_scanned(
    project: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(source, project / "data" / "parts")
    check(Path("data/parts"), PARAMS)
    capsys.readouterr()
    prepare.run(PARAMS, "parts")
    assert capsys.readouterr().err == "prepare: 24 of 24 images are unchanged since an earlier scan\n"


def test_one_category_and_a_manifest(project: Path, source: Path) -> None:
    checked = check(source / "bolt", PARAMS)
    assert "check: bolt (layout mvtec): 12 images" in checked.lines[0]
    assert read_table(project / "check-bolt/manifest.csv")["path"][0] == "bolt/test/bent/000.png"
    lines = [f"Rad groß/train/good/{number:03d}.png,good" for number in range(8)]
    (source / "list.csv").write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    checked = check(source / "list.csv", PARAMS)
    assert "check: list (layout manifest): 8 images" in checked.lines[0]
    assert read_table(project / "check-list/manifest.csv")["path"][0] == "Rad groß/train/good/000.png"


def test_an_earlier_check_is_replaced_and_nothing_else(project: Path, source: Path) -> None:
    check(source, PARAMS)
    (project / "check-Prüf stand" / "old.txt").touch()
    check(source, PARAMS)
    assert not (project / "check-Prüf stand" / "old.txt").exists()
    (project / "mine").mkdir()
    (project / "mine" / "letter.txt").touch()
    with pytest.raises(HarmoniadError, match=r"^mine: exists and is not an earlier check\. Give another .* --out\.$"):
        check(source, PARAMS, out=Path("mine"))
    assert (project / "mine" / "letter.txt").exists()


def test_wrong_paths(project: Path, source: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"nowhere: no such folder\.$"):
        check(project / "nowhere", PARAMS)
    with pytest.raises(HarmoniadError, match=r"000\.png: is neither a folder nor a manifest \(\.csv or \.jsonl\)\.$"):
        check(source / "bolt/train/good/000.png", PARAMS)
    with pytest.raises(HarmoniadError, match=r"out: lies in the data set\. Give another folder with --out\.$"):
        check(source, PARAMS, out=source / "out")
    (project / "hollow" / "gear" / "train" / "good").mkdir(parents=True)
    with pytest.raises(HarmoniadError, match=r"hollow: holds no images\. Expected CATEGORY/train/good/"):
        check(project / "hollow", PARAMS)
    assert not (project / "check-hollow").exists()


def test_severities_of_params_yaml_decide(project: Path, source: Path) -> None:
    (source / "bolt" / "train" / "good" / "000.png").write_text("nothing")
    lenient = PARAMS.validate_.model_copy(update={"severity": Severities(decodable="warning")})
    checked = check(source, PARAMS.model_copy(update={"validate_": lenient}))
    assert checked.stops == 0
    assert checked.lines[1].startswith("warning: decodable: bolt/train/good/000.png (is not an image")


def test_command(project: Path, source: Path) -> None:
    (project / "params.yaml").write_text("validate: {min_train_images: 4, min_side: 8}\n", encoding="utf-8")
    result = CliRunner().invoke(cli, ["data", "check", str(source), "--out", "seen"])
    assert result.exit_code == 0, result.output
    assert "page: seen/index.html" in result.output
    (source / "bolt" / "train" / "good" / "000.png").write_text("nothing")
    result = CliRunner().invoke(cli, ["data", "check", str(source), "--out", "seen"], standalone_mode=False)
    assert isinstance(result.exception, HarmoniadError)
    assert str(result.exception) == "1 finding stops the pipeline. See seen/index.html"
    assert "error: decodable: bolt/train/good/000.png" in result.output
