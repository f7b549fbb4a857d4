import csv
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harmoniad.data.manifest import fingerprint, read_manifest
from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json
from harmoniad.params import Data, Params, Severities, Validate
from harmoniad.stages import prepare, validate

GOOD = Path("data/parts/Rad groß/train/good")
TEST = Path("data/parts/Rad groß/test")
MASKS = Path("data/parts/Rad groß/ground_truth/tiefer Kratzer")


def params(severity: dict[str, Any] | None = None, **changes: Any) -> Params:
    section = Validate(**({"min_train_images": 4, "min_side": 8} | changes), severity=Severities(**(severity or {})))
    return Params(data=Data(sets=["parts"]), validate=section)


def write_image(path: Path, seed: int, low: int = 0, high: int = 256, size: tuple[int, int] = (20, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(low, high, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_mask(path: Path, *values: int, size: tuple[int, int] = (20, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, dtype=np.uint8)
    mask[0, : len(values)] = values
    Image.fromarray(mask).save(path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one category in which nothing is wrong."""
    project = tmp_path / "with space ü"
    project.mkdir()
    monkeypatch.chdir(project)
    for number in range(6):
        write_image(GOOD / f"{number}.png", number)
    for number in range(2):
        write_image(TEST / "good" / f"{number}.png", 100 + number)
        write_image(TEST / "tiefer Kratzer" / f"{number}.png", 200 + number)
        write_mask(MASKS / f"{number}_mask.png", 255)
    return project


def run(parameters: Params) -> str:
    prepare.run(parameters, "parts")
    return validate.run(parameters)


def expectations() -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in read_json(validate.REPORT)["expectations"] if not entry["success"]}


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]


def pages_of_the_data_docs() -> dict[str, str]:
    """The pages of results that the index links to."""
    parser = _Links()
    parser.feed((validate.DATA_DOCS / "index.html").read_text(encoding="utf-8"))
    pages = [link for link in parser.links if link.startswith("validations/")]
    return {page.split("/")[1]: (validate.DATA_DOCS / page).read_text(encoding="utf-8") for page in pages}


def test_data_that_passes(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(params()) == "validate: 10 images pass 14 of 14 expectations, 0 warnings"
    assert capfd.readouterr() == ("", "")  # no progress bar, no log line of Great Expectations

    report = read_json(validate.REPORT)
    assert report["success"] is True
    assert report["data_fingerprint"] == fingerprint(read_manifest(["parts"]))
    count = report["categories"]["Rad groß"]
    assert report["images"] == count
    assert count["train"] + count["held_out"] == 6
    assert {name: count[name] for name in ("test_good", "test_defect", "masks")} == dict.fromkeys(
        ("test_good", "test_defect", "masks"), 2
    )
    assert {entry["name"] for entry in report["expectations"]} == set(Severities.model_fields)
    assert all(entry["success"] and not entry["files"] for entry in report["expectations"])
    pages = pages_of_the_data_docs()
    assert set(pages) == {"images", "categories"}
    assert all("Succeeded" in page and "Failed</" not in page for page in pages.values())
    assert validate.NEAR_DUPLICATES.read_text() == "path,nearest,distance\n"

    # The same data again gives the same files.
    files = {file: file.read_bytes() for file in (validate.REPORT, validate.REFERENCE, validate.NEAR_DUPLICATES)}
    run(params())
    assert {file: file.read_bytes() for file in files} == files
    assert len(list(validate.DATA_DOCS.glob("validations/images/*/*/*.html"))) == 1  # the old pages are gone


def test_data_with_everything_wrong(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (GOOD / "0.png").write_text("nothing")
    (GOOD / "1.png").write_bytes((GOOD / "1.png").read_bytes()[:100])
    write_image(GOOD / "2.png", 2, size=(7, 24))
    Image.new("RGBA", (24, 20), (1, 2, 3, 4)).save(GOOD / "3.png")
    write_image(GOOD / "4.png", 4, size=(20, 45))
    write_image(GOOD.parent / "bent" / "0.png", 300)
    for number in range(5):
        shutil.copy(GOOD / "5.png", TEST / "good" / f"copy {number}.png")
    with Image.open(GOOD / "5.png") as image:
        image.point(lambda value: min(value + 1, 255)).save(TEST / "good" / "almost.png")
    write_mask(MASKS / "0_mask.png", 255, size=(10, 12))
    write_mask(MASKS / "1_mask.png")
    write_image(TEST / "tiefer Kratzer" / "2.png", 202)
    write_mask(MASKS / "2_mask.png", 100, 255)
    write_image(TEST / "tiefer Kratzer" / "3.png", 203)
    MASKS.joinpath("3_mask.png").write_text("nothing")
    write_image(Path("data/parts/only tests/test/good/0.png"), 400)

    parameters = params({"only_good_in_train": "warning"}, max_side=44, modes=["RGB"])
    with pytest.raises(HarmoniadError) as caught:
        run(parameters)

    assert str(caught.value) == (
        "validation failed: "
        "decodable: data/parts/Rad groß/test/tiefer Kratzer/3.png (its mask data/parts/Rad groß/ground_truth/"
        "tiefer Kratzer/3_mask.png: is not an image (png, jpg, bmp, tiff or webp)), "
        "data/parts/Rad groß/train/good/0.png (is not an image (png, jpg, bmp, tiff or webp)), "
        "data/parts/Rad groß/train/good/1.png (the file is truncated); "
        "size: data/parts/Rad groß/train/good/2.png (24×7); "
        "size: data/parts/Rad groß/train/good/4.png (45×20); "
        "mode: data/parts/Rad groß/train/good/3.png (RGBA); "
        "duplicates: data/parts/Rad groß/test/good/copy 0.png (same as data/parts/Rad groß/train/good/5.png), "
        "data/parts/Rad groß/test/good/copy 1.png (same as data/parts/Rad groß/train/good/5.png), "
        "data/parts/Rad groß/test/good/copy 2.png (same as data/parts/Rad groß/train/good/5.png) (+2 more); "
        "mask_size: data/parts/Rad groß/test/tiefer Kratzer/0.png (mask 12×10, image 24×20); "
        "min_train_images: data/parts/only tests (0 good training images, but 4 are needed). "
        "See results/validate/data_docs/index.html"
    )
    almost = "data/parts/Rad groß/test/good/almost.png"
    twin = "data/parts/Rad groß/train/good/5.png"
    distance = int(next(csv.DictReader(validate.NEAR_DUPLICATES.open(encoding="utf-8")))["distance"])
    assert capsys.readouterr().err.splitlines() == [
        "warning: only_good_in_train: data/parts/Rad groß/train/bent/0.png",
        f"warning: near_duplicates: {almost} (looks like {twin}, {distance} bits apart)",
        "warning: mask_missing: data/parts/Rad groß/train/bent/0.png",
        "warning: mask_empty: data/parts/Rad groß/test/tiefer Kratzer/1.png",
        "warning: mask_binary: data/parts/Rad groß/test/tiefer Kratzer/2.png (3 grey values)",
    ]
    with validate.NEAR_DUPLICATES.open(encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["path", "nearest", "distance"], [almost, twin, str(distance)]]

    assert read_json(validate.REPORT)["success"] is False
    failed = expectations()
    assert failed["duplicates"]["unexpected"] == len(failed["duplicates"]["files"]) == 5
    assert failed["min_train_images"]["files"] == {"data/parts/only tests": "0 good training images, but 4 are needed"}
    assert {name for name, entry in failed.items() if entry["severity"] == "warning"} == {
        "only_good_in_train",
        "near_duplicates",
        "mask_missing",
        "mask_empty",
        "mask_binary",
    }
    pages = pages_of_the_data_docs()
    assert "data/parts/Rad groß/train/good/1.png" in pages["images"]
    assert "data/parts/only tests" in pages["categories"]
    assert not validate.REFERENCE.exists()  # data that is refused teaches no ranges


def test_drift_from_the_previous_version(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A lamp failed: a new image is darker than any before; the accepted images and defects are not held against it."""
    run(params())
    accepted = validate.REFERENCE.read_bytes()
    dark = "data/parts/Rad groß/train/good/dark.png"
    write_image(Path(dark), 500, high=40)
    write_image(TEST / "tiefer Kratzer" / "dark.png", 501, high=40)
    write_mask(MASKS / "dark_mask.png", 255)

    with pytest.raises(
        HarmoniadError, match=rf"^validation failed: brightness: {dark} \(19\.\d, out of bounds by \d+\.\d\)\. See"
    ):
        run(params({"brightness": "error", "sharpness": "off"}))
    assert validate.REFERENCE.read_bytes() == accepted
    assert "sharpness" not in {entry["name"] for entry in read_json(validate.REPORT)["expectations"]}
    assert capsys.readouterr().err == "prepare: 10 of 12 images are unchanged since an earlier scan\n"

    assert run(params()).endswith("12 of 14 expectations, 2 warnings")
    assert [line.split(" (")[0] for line in capsys.readouterr().err.splitlines()] == [
        "prepare: 12 of 12 images are unchanged since an earlier scan",
        f"warning: brightness: {dark}",
        f"warning: sharpness: {dark}",
    ]
    reference = json.loads(validate.REFERENCE.read_bytes())
    assert reference["before"] == json.loads(accepted)["accepted"]
    assert reference["accepted"]["categories"]["Rad groß"]["brightness"][0] < 20

    # Accepted with a warning: the same data warns again, and the next version is compared with what was accepted.
    report, content = validate.REPORT.read_bytes(), validate.REFERENCE.read_bytes()
    run(params())
    assert (validate.REPORT.read_bytes(), validate.REFERENCE.read_bytes()) == (report, content)
    write_image(GOOD / "6.png", 502, high=40)
    assert run(params()).endswith("14 of 14 expectations, 0 warnings")


def test_everything_off(project: Path) -> None:
    (GOOD / "0.png").write_text("nothing")
    line = run(params(dict.fromkeys(Severities.model_fields, "off")))
    assert line == "validate: 10 images pass 0 of 0 expectations, 0 warnings"
    assert set(pages_of_the_data_docs()) == {"images", "categories"}


def test_no_image_to_train_on(project: Path) -> None:
    shutil.rmtree(GOOD.parent)
    with pytest.raises(
        HarmoniadError, match=r"^validation failed: no image to train on in parts\. See results/validate"
    ):
        run(params(dict.fromkeys(Severities.model_fields, "off")))


def test_without_prepare(project: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"results/prepare/parts\.csv: no such manifest\. Run `dvc repro prepare`"):
        validate.run(params())


def test_a_version_of_decimal_digits_alone_is_no_date(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fingerprint in some thousand looks like this; Great Expectations takes the name of a run for a date."""
    monkeypatch.setattr(validate, "fingerprint", lambda manifest: "5066198964630818")
    assert run(params())
    assert set(pages_of_the_data_docs()) == {"images", "categories"}
    assert any("5066198964630818" in page.as_posix() for page in validate.DATA_DOCS.rglob("*.html"))
