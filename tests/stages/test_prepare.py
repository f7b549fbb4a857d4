import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoniad.data.manifest import COLUMNS, fingerprint, manifest_file, read_manifest
from harmoniad.errors import HarmoniadError
from harmoniad.params import Params, Prepare
from harmoniad.stages import prepare

PARAMS = Params(prepare=Prepare(held_out=0.2, folder_test=0.3))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = tmp_path / "with space ü"
    project.mkdir()
    monkeypatch.chdir(project)
    return project


def write_images(folder: str, count: int, first: int = 0) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng([len(folder), number]).integers(0, 256, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(Path(folder, f"{number:03d}.png"))


def test_mvtec(project: Path) -> None:
    write_images("data/parts/Rad groß/train/good", 20)
    write_images("data/parts/Rad groß/test/good", 3)
    write_images("data/parts/Rad groß/test/tiefer Kratzer", 2)
    write_images("data/parts/Rad groß/ground_truth/tiefer Kratzer", 1)
    write_images("data/parts/Rad groß/train/bent", 1)
    write_images("data/parts/only tests/test/good", 1)
    line = prepare.run(PARAMS, "parts")
    table = read_manifest(["parts"])
    held_out = int((table["split"] == "held_out").sum())
    assert line == (
        f"prepare: parts: 27 images ({21 - held_out} train, {held_out} held out, 6 test), "
        f"categories Rad groß, only tests, data {fingerprint(table)}"
    )
    assert list(table.columns) == list(COLUMNS)
    assert table["path"].tolist() == sorted(table["path"])
    assert 0 < held_out < 20
    assert set(table[table["split"] == "held_out"]["label"]) == {"good"}
    first = table[table["path"] == "data/parts/Rad groß/test/tiefer Kratzer/000.png"].iloc[0]
    assert first["mask"] == "data/parts/Rad groß/ground_truth/tiefer Kratzer/000.png"
    assert (first["category"], first["split"], first["label"]) == ("Rad groß", "test", "defect")
    assert (first["defect"], first["width"], first["height"], first["mode"]) == ("tiefer Kratzer", 9, 8, "RGB")
    bent = table[table["defect"] == "bent"].iloc[0]
    assert (bent["split"], bent["label"]) == ("train", "defect")


def test_the_same_data_gives_the_same_bytes(project: Path) -> None:
    write_images("data/parts/gear/train/good", 12)
    prepare.run(PARAMS, "parts")
    content = manifest_file("parts").read_bytes()
    prepare.run(PARAMS, "parts")
    assert manifest_file("parts").read_bytes() == content
    assert b"\r" not in content


def test_folder_layout_splits_by_hash_and_growing_moves_nothing(project: Path) -> None:
    write_images("data/parts/gear/good", 40)
    write_images("data/parts/gear/bent", 3)
    prepare.run(PARAMS, "parts")
    before = read_manifest(["parts"]).set_index("path")["split"]
    assert set(before[before.index.str.contains("/bent/")]) == {"test"}
    counts = before[before.index.str.contains("/good/")].value_counts()
    assert 4 <= counts["test"] <= 20
    assert 2 <= counts["held_out"] <= 16
    write_images("data/parts/gear/good", 15, first=40)
    prepare.run(PARAMS, "parts")
    after = read_manifest(["parts"]).set_index("path")["split"]
    assert len(after) == 58
    assert after[before.index].tolist() == before.tolist()


def test_two_training_images_are_enough_to_hold_one_out(project: Path) -> None:
    write_images("data/parts/gear/train/good", 2)
    write_images("data/parts/one/train/good", 1)
    prepare.run(PARAMS, "parts")
    table = read_manifest(["parts"])
    assert sorted(table[table["category"] == "gear"]["split"]) == ["held_out", "train"]
    assert table[table["category"] == "one"]["split"].tolist() == ["train"]


def test_broken_images_do_not_stop_it(project: Path) -> None:
    write_images("data/parts/gear/train/good", 3)
    Path("data/parts/gear/train/good/001.png").write_text("nothing")
    Path("data/parts/gear/train/good/002.png").write_text("nothing")
    assert ", 2 broken)" in prepare.run(PARAMS, "parts")
    table = read_manifest(["parts"]).set_index("path")
    broken = table.loc["data/parts/gear/train/good/001.png"]
    assert broken["problem"] == "is not an image (png, jpg, bmp, tiff or webp)"
    assert (broken["width"], broken["brightness"], broken["split"]) == (0, 0, "train")


def test_dataset_json_tells_the_layout(project: Path) -> None:
    write_images("data/parts/train/good", 2)  # looks like one category in the layout of MVTec
    Path("data/parts/dataset.json").write_text(json.dumps({"layout": "folder"}))
    prepare.run(PARAMS, "parts")
    assert set(read_manifest(["parts"])["category"]) == {"train"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"^data/parts: no such data set\. Add it with `harmoniad data add PATH --name parts`\.$"),
        ({"data/parts.dvc": ""}, r"^data/parts: no such data set\. Run `dvc pull`\.$"),
        (
            {"data/parts/readme.txt": ""},
            r"^data/parts: no known layout, it holds no folders\. Expected manifest: .*; mvtec: ",
        ),
        (
            {"data/parts/gear/train/good/readme.txt": ""},
            r"^data/parts: holds no images\. Expected CATEGORY/train/good/",
        ),
        (
            {"data/parts/train/good/0.png": ""},
            r"^data/parts: is one category by itself\. Move .* data/parts/CATEGORY/\.$",
        ),
        (
            {"data/parts/dataset.json": '{"layout": "yolo"}'},
            r"^data/parts/dataset\.json: unknown layout `yolo`\. There are",
        ),
        ({"data/parts/dataset.json": "[]"}, r'^data/parts/dataset\.json: must be like \{"layout": "mvtec"\}\.$'),
        ({"data/parts/dataset.json": '{"layout": 3}'}, r"^data/parts/dataset\.json: must be like"),
        ({"data/parts/dataset.json": "{"}, r"^data/parts/dataset\.json: not valid JSON"),
    ],
)
def test_errors(project: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content)
    with pytest.raises(HarmoniadError, match=message):
        prepare.run(PARAMS, "parts")
    assert not manifest_file("parts").exists()


def test_missing_sample(project: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"^data/sample: no such data set\. Run `dvc repro`, which makes it\.$"):
        prepare.run(PARAMS, "sample")
