"""Manifests: what is accepted, what is refused and why, and that what is written reads back."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmoniad.data.layouts import manifest, recognise
from harmoniad.data.layouts.record import Record
from harmoniad.data.saturation import Saturation
from harmoniad.errors import HarmoniadError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "with space ü"
    for name in ("a.png", "b.png", "deep/c, d.png", "m.png", "n.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def read(root: Path, text: str, name: str = "parts.csv") -> list[Record]:
    (root / name).write_text(text, encoding="utf-8")
    return list(manifest.read(root / name))


def test_the_least_that_is_needed(root: Path) -> None:
    assert read(root, "path,label\na.png,good\nb.png,defect\n") == [
        Record(root / "a.png", "parts", "by_hash", "good", "good"),
        Record(root / "b.png", "parts", "test", "defect", "defect"),
    ]
    found = recognise(root / "parts.csv")
    assert (found.name, found.single_category) == ("manifest", False)


def test_everything(root: Path) -> None:
    text = (
        "category;path;split;label;defect;mask;view;group;saturation;number\r\n"
        "Rad groß;deep/c, d.png;test;NG;tiefer Kratzer;m.png|n.png;C1;logical;6300|50%;7\r\n"
        "Rad groß;a.png;val;OK;;;C2;;;8\r\n"
        f"Rad groß;{root / 'b.png'};train;0;x;m.png;;structural;3;9\r\n"  # nothing of a defect is taken from a good one
    )
    rules = (Saturation(6300), Saturation(0.5, relative=True))
    masks = (root / "m.png", root / "n.png")
    expected = [
        Record(root / "deep/c, d.png", "Rad groß", "test", "defect", "tiefer Kratzer", masks, "C1", "logical", rules),
        Record(root / "a.png", "Rad groß", "held_out", "good", "good", view="C2"),
        Record(root / "b.png", "Rad groß", "train", "good", "good"),
    ]
    assert read(root, text) == expected
    assert read(root, "\ufeff" + text) == expected  # as spreadsheets write UTF-8
    assert read(root, text.replace(";", "\t")) == expected


def test_json_lines_and_other_names_of_columns(root: Path) -> None:
    lines = [
        {"image_path": "a.png", "object": "gear", "label": 0, "mask_path": None},
        {"image": "b.png", "object": "gear", "anomaly_class": "bent", "masks": ["m.png", "n.png"], "split": None},
    ]
    text = "\n\n".join(map(json.dumps, lines))
    assert read(root, text, "x.jsonl") == [
        Record(root / "a.png", "gear", "by_hash", "good", "good"),
        Record(root / "b.png", "gear", "test", "defect", "bent", (root / "m.png", root / "n.png")),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na.png,good\n", r"parts\.csv: must have the columns path and label; it may have path, category"),
        ("path,split\na.png,train\n", r"parts\.csv: must have the columns path and label"),
        ("", r"parts\.csv: must have the columns path and label"),
        ("path,label\nx.png,good\n", r"parts\.csv, line 2: x\.png: no such image$"),
        ("path,label\na.png,good\n,good\n", r"parts\.csv, line 3: has no image$"),
        ("path,label\na.png,good\na.png,defect\n", r"line 3: a\.png: stands in line 2 already\.$"),
        ("path,label\na.png,perhaps\n", r"line 2: label `perhaps` is neither good nor defect$"),
        ("path,label,defect\na.png,,\n", r"line 2: has neither label nor defect$"),
        ("path,label,split\na.png,good,later\n", r"line 2: split `later` is not one of train, test, held_out, or em"),
        ("path,label,split\na.png,bad,val\n", r"line 2: a defect cannot be held out"),
        ("path,label,mask\na.png,bad,x.png\n", r"line 2: x\.png: no such mask$"),
        ("path,label,mask,saturation\na.png,bad,m.png,5px\n", r"line 2: `5px` is no saturation area: write pixels"),
        ("path,label,mask,saturation\na.png,bad,m.png,1|2\n", r"line 2: 2 saturation areas for 1 masks$"),
        ("path,label,category\na.png,good,a/b\n", r"line 2: 'a/b' cannot be the name of a category or defect"),
        ("path,label,category\na.png,good,..\n", r"line 2: '\.\.' cannot be the name of a category or defect"),
        ("path,label,defect\na.png,bad,<b>\n", r"line 2: '<b>' cannot be the name of a category or defect"),
        ("path,label\n<a>.png,good\n", r"line 2: .*the name holds `<`, `>` or a control character"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(root: Path, text: str, message: str) -> None:
    with pytest.raises(HarmoniadError, match=message):
        read(root, text)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "line 1: not valid JSON"), ("[1]", "line 1: is not a JSON object")]
)
def test_json_lines_that_are_wrong(root: Path, text: str, message: str) -> None:
    with pytest.raises(HarmoniadError, match=message):
        read(root, text, "x.jsonl")


def test_other_encodings_are_refused(root: Path) -> None:
    (root / "parts.csv").write_bytes("path,label\nü.png,good\n".encode("latin-1"))
    with pytest.raises(HarmoniadError, match=r"parts\.csv: is not UTF-8\. Save it as such\.$"):
        list(manifest.read(root / "parts.csv"))


def test_masks_whose_names_hold_the_separator_cannot_be_written(root: Path) -> None:
    record = Record(root / "a.png", "gear", "test", "defect", "bent", (root / "m|n.png",))
    with pytest.raises(HarmoniadError, match=r"m\|n\.png: the name holds `\|`, which stands between masks\. Rename it"):
        manifest.write([record], root / "all.csv")


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8).filter(
    lambda text: not text.startswith(".") and not set(text) & set("<>/\\")
) | st.sampled_from(["NA", "1", "good", 'a"b', "a,b;c", "Rad groß", "True", "#x", "'"])


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    defective = draw(st.booleans())
    masks = draw(st.lists(st.sampled_from(["m.png", "n.png"]), unique=True)) if defective else []
    rules = draw(st.lists(st.integers(1, 9000), min_size=len(masks), max_size=len(masks)))
    return {
        "category": draw(NAMES),
        "split": draw(st.sampled_from(["train", "test"] if defective else ["train", "test", "held_out", "by_hash"])),
        "label": "defect" if defective else "good",
        "defect": draw(NAMES) if defective else "good",
        "masks": masks,
        "view": draw(NAMES | st.just("")),
        "group": draw(st.sampled_from(["", "logical"])) if defective else "",
        "saturation": draw(st.sampled_from([(), tuple(Saturation(float(rule)) for rule in rules)])),
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records(), min_size=1, max_size=3), st.sampled_from(["all.csv", "all.jsonl", "deep/all.csv"]))
def test_what_is_written_reads_back(root: Path, drawn: list[dict[str, Any]], name: str) -> None:
    images = ("a.png", "b.png", "deep/c, d.png")
    written = [
        Record(**{**content, "path": root / image, "masks": tuple(root / mask for mask in content["masks"])})
        for content, image in zip(drawn, images, strict=False)
    ]
    file = root / name
    file.write_bytes(manifest.write(written, file))
    assert list(manifest.read(file)) == written
