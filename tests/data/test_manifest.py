from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmoniad.data.manifest import (
    COLUMNS,
    fingerprint,
    fingerprint_of_test_images,
    manifest_file,
    read_manifest,
    usable,
    write_manifest,
)
from harmoniad.errors import HarmoniadError

ODD_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12) | st.sampled_from(
    ["NA", "null", "nan", "1", "1.50", "007", "True", 'a"b', "a,b", "'", ";", " x ", "#", "\\", "ü 部品", "-", '""']
)
SIZES = st.integers(0, 2**40)
FLOATS = st.floats(0, 1e6).map(lambda value: round(value, 4))
ROW = st.fixed_dictionaries(
    {name: {"str": ODD_TEXT, "int64": SIZES, "float64": FLOATS}[kind] for name, kind in COLUMNS.items()}
)
FEW = settings(max_examples=25, deadline=None)  # each writes and reads files
ROWS = st.lists(ROW, min_size=1, max_size=6, unique_by=lambda row: row["path"])


def row(**changes: Any) -> dict[str, Any]:
    empty = {name: {"str": "", "int64": 0, "float64": 0.0}[kind] for name, kind in COLUMNS.items()}
    return empty | changes


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("with space ü"))
        yield Path()


@FEW
@given(ROWS)
def test_reading_gives_what_was_written(rows: list[dict[str, Any]]) -> None:
    written = write_manifest(rows, "odd")
    read = read_manifest(["odd"])
    expected = sorted(rows, key=lambda row: row["path"])
    assert read.to_dict("records") == written.to_dict("records") == expected
    assert fingerprint(read) == fingerprint(written)


@FEW
@given(ROWS, st.randoms())
def test_file_and_fingerprint_do_not_depend_on_the_order(rows: list[dict[str, Any]], random: Any) -> None:
    before = fingerprint(write_manifest(rows, "odd"))
    content = manifest_file("odd").read_bytes()
    shuffled = random.sample(rows, len(rows))
    assert fingerprint(write_manifest(shuffled, "odd")) == before
    assert manifest_file("odd").read_bytes() == content


@FEW
@given(ROWS)
def test_fingerprint_does_not_depend_on_paths_and_measurements(rows: list[dict[str, Any]]) -> None:
    moved = [row | {"path": f"elsewhere/{row['path']}", "data_set": "other", "brightness": 1.0} for row in rows]
    assert fingerprint(write_manifest(rows, "odd")) == fingerprint(write_manifest(moved, "odd"))


@pytest.mark.parametrize("column", ["category", "split", "label", "defect", "sha256", "mask_sha256"])
def test_fingerprint_depends_on_content(column: str) -> None:
    one = write_manifest([row(path="a"), row(path="b")], "one")
    other = write_manifest([row(path="a"), row(path="b", **{column: "x"})], "other")
    assert fingerprint(one) != fingerprint(other)


def test_fingerprint_of_test_images_looks_at_no_other() -> None:
    one = write_manifest([row(path="a", split="test"), row(path="b", split="train", sha256="1")], "one")
    other = write_manifest([row(path="a", split="test"), row(path="b", split="train", sha256="2")], "other")
    assert fingerprint_of_test_images(one) == fingerprint_of_test_images(other)
    assert fingerprint(one) != fingerprint(other)


def test_several_sets_make_one_table() -> None:
    write_manifest([row(path="data/b/0.png"), row(path="data/b/1.png")], "b")
    write_manifest([row(path="data/a/0.png")], "a")
    assert read_manifest(["b", "a", "b"])["path"].tolist() == ["data/a/0.png", "data/b/0.png", "data/b/1.png"]


def test_usable_leaves_out_what_cannot_be_decoded() -> None:
    table = write_manifest([row(path="a", problem="the file is truncated"), row(path="b")], "one")
    assert usable(table)["path"].tolist() == ["b"]


def test_missing_manifest() -> None:
    with pytest.raises(HarmoniadError, match=r"nothing\.csv: no such manifest\. Run `dvc repro prepare`"):
        read_manifest(["nothing"])


def test_manifest_of_another_version() -> None:
    write_manifest([row(path="a")], "old")
    lines = manifest_file("old").read_text(encoding="utf-8").replace(",problem", ",trouble")
    manifest_file("old").write_text(lines, encoding="utf-8")
    with pytest.raises(HarmoniadError, match=r"old\.csv: made by another version of harmoniad"):
        read_manifest(["old"])
