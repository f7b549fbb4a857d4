"""Every layout on a tiny tree of real images: recognised, read, exported, read back, and prepared."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from harmoniad.cli import cli
from harmoniad.data.export import export
from harmoniad.data.layouts import LAYOUTS, Record, layout_named, manifest, recognise
from harmoniad.data.manifest import fingerprint, read_manifest
from harmoniad.data.masks import read_mask, read_regions
from harmoniad.data.sets import add, list_sets
from harmoniad.errors import HarmoniadError
from harmoniad.params import Params, Prepare
from harmoniad.stages import prepare
from tests.data.trees import HEIGHT, SQUARE, TREES, WIDTH, part

PARAMS = Params(prepare=Prepare(held_out=0.3, folder_test=0.3))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = tmp_path / "with space ü"
    (project / "data").mkdir(parents=True)
    monkeypatch.chdir(project)
    return project


def build(tree: str, root: Path) -> Path:
    root.mkdir(parents=True)
    TREES[tree][1](root)
    return root


def records_of(root: Path) -> list[Record]:
    return list(recognise(root).layout.read(root))


def counts(root: Path) -> Counter[tuple[str, str, str, str]]:
    return Counter((record.category, record.split, record.label, record.defect) for record in records_of(root))


def prepared(tree: str) -> pd.DataFrame:
    prepare.run(PARAMS, tree)
    table = read_manifest([tree])
    assert set(table["problem"]) == {""}
    return table


@pytest.mark.parametrize("tree", TREES)
def test_recognised_by_itself_and_read_back_from_its_manifest(project: Path, tree: str) -> None:
    root = build(tree, Path("data", tree))
    found = recognise(root)
    assert (found.name, found.single_category) == (TREES[tree][0], False)
    records = list(found.layout.read(root))
    for name in ("all.csv", "all.jsonl", "deep/er/all.csv"):
        export(tree, Path(name))
        back = list(manifest.read(Path(name)))
        if "deep" in name:
            assert [record.path.resolve() for record in back] == [record.path.resolve() for record in records]
        else:
            assert back == records


@pytest.mark.parametrize("tree", TREES)
def test_added_it_says_what_it_saw_and_its_manifest_is_the_same_data(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: str
) -> None:
    monkeypatch.setattr("harmoniad.data.sets._track", lambda target, project: None)  # DVC is tested in test_sets
    Path("params.yaml").write_text("data: {sets: [sample]}\n")
    text = add(build(tree, tmp_path / f"export of {tree}"), name=tree)
    assert text.startswith(f"added data/{tree} (layout {TREES[tree][0]}): ")
    extra = {
        "mvtec_loco": "3 images of its validation split are held out for the threshold.\n"
        "defects: 1 logical, 1 structural.\n",
        "real_iad": "seen from 3 views: C1, C2, C3.\nnote: 1 image files have no place in the layout, such as ",
        "mvtec_ad_2": "3 images of its validation split are held out for the threshold.\nnote: 2 image files",
    }
    assert extra.get(tree, "") in text
    export(tree, Path("elsewhere", "all.csv"))
    assert add(Path("elsewhere", "all.csv"), name="copy").startswith("added data/copy (layout manifest): ")
    same = ["category", "split", "label", "defect", "sha256", "mask_sha256", "view", "group", "saturation"]
    one, copy = (prepared(name).sort_values("sha256", ignore_index=True) for name in (tree, "copy"))
    pd.testing.assert_frame_equal(one[same], copy[same])
    assert fingerprint(one) == fingerprint(copy)
    assert {found.name: found.images for found in list_sets()}[tree] == len(one)


@pytest.mark.parametrize("tree", TREES)
def test_masks_mark_the_defect(project: Path, tree: str) -> None:
    build(tree, Path("data", tree))
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[SQUARE] = True
    marked = 0
    for row in prepared(tree).to_dict("records"):
        if row["mask"] and row["category"] not in ("pushpins", "rivet"):
            np.testing.assert_array_equal(read_mask(row), expected)
            ((region, area),) = read_regions(row)
            assert area == expected.sum() == row["mask_area"]
            np.testing.assert_array_equal(region, expected)
            marked += 1
        elif not row["mask"]:
            assert read_regions(row) == []
    assert marked == {"mvtec_loco": 0, "manifest": 0, "mvtec_ad_2": 1}.get(tree, 2)


def test_visa(tmp_path: Path) -> None:
    good, defect = ("candle", "train", "good", "good"), ("candle", "test", "defect", "anomaly")
    root = build("visa", tmp_path / "visa")
    assert counts(root) == {good: 8, ("candle", "test", "good", "good"): 2, defect: 2}
    raw = build("visa_raw", tmp_path / "raw")
    assert counts(raw) == {("candle", "by_hash", "good", "good"): 10, defect: 2}
    assert [len(record.masks) for record in records_of(raw) if record.label == "defect"] == [1, 1]
    single = recognise(root / "candle")
    assert (single.name, single.single_category) == ("visa", True)
    assert len(list(single.layout.read(root, "candle"))) == 12


def test_btad_matches_masks_by_stem(tmp_path: Path) -> None:
    root = build("btad", tmp_path / "btad")
    good = ("01", "train", "good", "good")
    assert counts(root) == {good: 8, ("01", "test", "good", "good"): 2, ("01", "test", "defect", "ko"): 2}
    pairs = [(record.path.name, record.masks[0].name) for record in records_of(root) if record.masks]
    assert pairs == [("0000.bmp", "0000.png"), ("0001.png", "0001.bmp")]


def test_mvtec_loco_brings_regions_groups_and_saturation(project: Path) -> None:
    root = build("mvtec_loco", Path("data/loco"))
    assert counts(root)["pushpins", "held_out", "good", "good"] == 3
    table = prepared("loco").set_index("group")
    logical, structural = table.loc["logical"], table.loc["structural"]
    assert (logical["mask_area"], logical["mask_values"], logical["saturation"]) == (295, 2, "100|27")
    assert structural["saturation"] == "240"  # of 6300 pixels, but no more than there are
    assert [(int(region.sum()), area) for region, area in read_regions(logical.to_dict())] == [(240, 100), (55, 27)]
    assert table.loc[""]["split"].value_counts().to_dict() == {"train": 8, "held_out": 3, "test": 1}
    # Other saturation areas make it other data.
    before = fingerprint(read_manifest(["loco"]))
    config = root / "pushpins/defects_config.json"
    config.write_text(config.read_text().replace("100", "101"))
    assert fingerprint(prepared("loco")) != before


def test_mvtec_loco_without_its_config_is_still_recognised(tmp_path: Path) -> None:
    root = build("mvtec_loco", tmp_path / "loco")
    (root / "pushpins/defects_config.json").unlink()
    assert {record.group for record in records_of(root)} == {"", "structural", "logical"}
    assert {record.saturation for record in records_of(root)} == {()}


@pytest.mark.parametrize(
    "content",
    ["[", "{}", '["x"]', "[{}]", '[{"pixel_value": 255, "saturation_threshold": 2, "relative_saturation": 1}]'],
)
def test_mvtec_loco_config_that_is_wrong(tmp_path: Path, content: str) -> None:
    root = build("mvtec_loco", tmp_path / "loco")
    (root / "pushpins/defects_config.json").write_text(content)
    with pytest.raises(HarmoniadError, match=r"defects_config\.json: must be a list of objects with `pixel_value`"):
        records_of(root)


def test_mvtec_ad_2_leaves_the_private_parts_out(tmp_path: Path) -> None:
    root = build("mvtec_ad_2", tmp_path / "ad2")
    good = [("vial", split, "good", "good") for split in ("train", "held_out", "test")]
    assert counts(root) == {good[0]: 8, good[1]: 3, good[2]: 1, ("vial", "test", "defect", "bad"): 1}


def test_real_iad_takes_the_largest_images_and_the_base_split(tmp_path: Path) -> None:
    root = build("real_iad", tmp_path / "Real-IAD")
    good, defect = ("audiojack", "train", "good", "good"), ("audiojack", "test", "defect", "BX")
    assert counts(root) == {good: 9, ("audiojack", "test", "good", "good"): 3, defect: 3}
    assert {record.path.relative_to(root).parts[0] for record in records_of(root)} == {"realiad_1024"}
    assert Counter(record.view for record in records_of(root)) == {"C1": 5, "C2": 5, "C3": 5}
    assert [len(record.masks) for record in records_of(root) if record.label == "defect"] == [1, 1, 0]
    shutil.rmtree(root / "realiad_jsons/realiad_jsons")
    assert counts(root)[good] == 1


def test_own_validation_split_is_held_out_and_nothing_else(project: Path) -> None:
    build("mvtec_ad_2", Path("data/mixed"))
    for number in range(10):
        part(Path(f"data/mixed/gear/test_public/good/{number}.png"))
        part(Path(f"data/mixed/gear/train/good/{number}.png"))
    table = prepared("mixed")
    held_out = table[table["split"] == "held_out"]
    assert set(held_out[held_out["category"] == "vial"]["path"].str.split("/").str[3]) == {"validation"}
    assert 0 < len(held_out[held_out["category"] == "gear"]) < 10


@pytest.mark.parametrize(
    ("tree", "file", "old", "new", "message"),
    [
        ("visa", "split_csv/1cls.csv", "0000.JPG", "9999.JPG", r"1cls\.csv, line 2: .*9999\.JPG: no such file\.$"),
        ("visa", "split_csv/1cls.csv", "candle/Data", "../Data", r"line 2: .*: must be a path within "),
        ("visa", "split_csv/1cls.csv", "normal", "fine", r"line 2: `fine`, `train`: must be normal or anomaly"),
        ("visa", "split_csv/1cls.csv", "object,", "thing,", r"1cls\.csv: must have the columns image, label, mask, ob"),
        (
            "real_iad",
            "realiad_jsons/realiad_jsons/audiojack.json",
            "S0001",
            "S9",
            r"json, train\[3\]: .*: no such file",
        ),
        (
            "real_iad",
            "realiad_jsons/realiad_jsons/audiojack.json",
            "image_path",
            "x",
            r"train\[0\]: must have image_path",
        ),
        (
            "real_iad",
            "realiad_jsons/realiad_jsons/audiojack.json",
            '"test":',
            '"tests":',
            r"json: must have `meta`, `tr",
        ),
        ("real_iad", "realiad_jsons/realiad_jsons/audiojack.json", "]}", "]", r"audiojack\.json: not valid JSON"),
        (
            "real_iad",
            "realiad_jsons/realiad_jsons/audiojack.json",
            '"BX"',
            '"../x"',
            r"cannot be the name of a category",
        ),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, tree: str, file: str, old: str, new: str, message: str) -> None:
    root = build(tree, tmp_path / tree)
    path = root / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(HarmoniadError, match=message):
        list(layout_named(TREES[tree][0]).read(root))


def test_what_is_meant_is_told(tmp_path: Path) -> None:
    build("visa", tmp_path / "download/VisA_20220922")
    with pytest.raises(
        HarmoniadError, match=r"download: no known layout.* VisA_20220922\. .*looks like visa: give that"
    ):
        recognise(tmp_path / "download")
    (tmp_path / "zip").mkdir()
    (tmp_path / "zip/visa.tar").touch()
    with pytest.raises(HarmoniadError, match=r"zip: no known layout, it holds no folders\. Unpack visa\.tar first\."):
        recognise(tmp_path / "zip")
    (tmp_path / "zip/a.jsonl").touch()
    with pytest.raises(HarmoniadError, match=r"If a\.jsonl is a manifest, give the file itself\."):
        recognise(tmp_path / "zip")
    part(tmp_path / "loose/0.png")
    with pytest.raises(
        HarmoniadError, match=r"It holds 1 images by themselves: put the good ones into a folder `good`"
    ):
        recognise(tmp_path / "loose")


def test_without_good_images_to_train_with_nothing_is_added(project: Path, tmp_path: Path) -> None:
    Path("params.yaml").write_text("data: {sets: [sample]}\n")
    for tree, where in [
        ("visa_raw", r"candle/Data/Images/Normal: no images of category candle \(layout visa\)"),
        ("btad", r"01/train/ok: no images of category 01 \(layout btad\)"),
        ("mvtec_loco", r"pushpins/train/good: no images of category pushpins \(layout mvtec_loco\)"),
        ("real_iad", r"realiad_1024/audiojack/OK: no images of category audiojack \(layout real_iad\)"),
        ("manifest", r"manifest\.csv: no images of category rivet \(layout manifest\)"),
    ]:
        root = build(tree, tmp_path / tree)
        if tree == "real_iad":
            path = root / "realiad_jsons/realiad_jsons/audiojack.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"train": []}))
        elif tree == "manifest":
            path = root / "manifest.csv"
            path.write_text(path.read_text(encoding="utf-8").replace(",train,", ",test,"), encoding="utf-8")
        else:
            for record in records_of(root):
                if record.split in ("train", "by_hash"):
                    record.path.unlink()
        with pytest.raises(HarmoniadError, match=where):
            add(root, name="parts")
    (tmp_path / "empty.csv").write_text("path,label\n")
    with pytest.raises(
        HarmoniadError, match=r"empty\.csv: holds no images\. Expected manifest\.csv or manifest\.jsonl"
    ):
        add(tmp_path / "empty.csv")
    assert list(Path("data").iterdir()) == []


def test_command(project: Path) -> None:
    build("btad", Path("data/btad"))
    result = CliRunner().invoke(cli, ["data", "export", "btad", "all.jsonl"])
    assert (result.exit_code, result.output) == (
        0,
        "all.jsonl: 12 images of 1 category; `harmoniad data add all.jsonl --name NAME` takes it in.\n",
    )
    assert len(Path("all.jsonl").read_text().splitlines()) == 12
    shown = CliRunner().invoke(cli, ["data", "add", "--help"]).output
    assert all(name in shown for name in LAYOUTS)


def test_train_good_beside_test_ko_is_no_btad(tmp_path: Path) -> None:
    build("mvtec", tmp_path / "parts")
    (tmp_path / "parts/gear/test/bent").rename(tmp_path / "parts/gear/test/ko")
    assert recognise(tmp_path / "parts").name == "mvtec"


def test_export_of_a_folder_elsewhere_and_what_it_refuses(project: Path, tmp_path: Path) -> None:
    root = build("btad", tmp_path / "btad")
    assert export(str(root)).startswith("btad.csv: 12 images of 1 category; `harmoniad data add btad.csv --name NAME`")
    assert [record.path for record in manifest.read(Path("btad.csv"))] == [
        Path("..") / record.path.relative_to(tmp_path) for record in records_of(root)
    ]
    assert export(str(root / "01"), Path("one.jsonl")).startswith("one.jsonl: 12 images of 1 category")
    first = json.loads(Path("one.jsonl").read_text().splitlines()[0])
    assert (first["category"], first["split"], first["label"]) == ("01", "train", "good")
    with pytest.raises(HarmoniadError, match=r"^all\.txt: must end in \.csv or \.jsonl\.$"):
        export(str(root), Path("all.txt"))
    with pytest.raises(HarmoniadError, match=r"^data/nothing: no such data set"):
        export("nothing")
