import math
from pathlib import Path

import pandas as pd
import pytest

from harmoniad.data.reference import accept, outside, version_before
from harmoniad.errors import HarmoniadError


def manifest(*images: tuple[str, str, str, float]) -> pd.DataFrame:
    """Images as (category, split, label, brightness)."""
    table = pd.DataFrame(images, columns=["category", "split", "label", "brightness"])
    return table.assign(
        sharpness=table["brightness"] * 2,
        defect=table["label"],
        problem="",
        mask_sha256="",
        sha256=[f"{category}{value}" for category, value in zip(table["category"], table["brightness"], strict=True)],
    )


FIRST = manifest(
    ("gear", "train", "good", 100.0),
    ("gear", "held_out", "good", 120.0),
    ("gear", "test", "good", 110.0),
    ("gear", "test", "defect", 10.0),
    ("bolt", "train", "good", 50.0),
)


def test_ranges_are_those_of_the_good_images(tmp_path: Path) -> None:
    file = tmp_path / "with space ü" / "reference.json"
    assert version_before(file, FIRST) is None
    accept(file, FIRST, None)
    later = pd.concat([FIRST, manifest(("gear", "train", "good", 104.0))], ignore_index=True)
    before = version_before(file, later)
    assert before is not None
    assert before["categories"] == {
        "bolt": {"brightness": [50, 50], "sharpness": [100, 100]},
        "gear": {"brightness": [100, 120], "sharpness": [200, 240]},
    }


def test_images_that_cannot_be_decoded_are_left_out(tmp_path: Path) -> None:
    table = FIRST.assign(problem=["the file is truncated", "", "", "", ""])
    accept(tmp_path / "reference.json", table, None)
    before = version_before(tmp_path / "reference.json", FIRST.iloc[:1])
    assert before is not None
    assert before["categories"]["gear"]["brightness"] == [110, 120]


def test_outside_by_hand(tmp_path: Path) -> None:
    accept(tmp_path / "reference.json", FIRST, None)
    table = manifest(
        ("gear", "train", "good", 90.0),  # on the bound: 100 - 0.5 × 20
        ("gear", "test", "good", 87.5),
        ("gear", "held_out", "good", 133.0),
        ("gear", "test", "defect", 0.0),
        ("bolt", "train", "good", 50.5),  # the range has no width, so neither has the margin
        ("new", "train", "good", 0.0),
    )
    before = version_before(tmp_path / "reference.json", table)
    brightness = outside(table, "brightness", before, 0.5).tolist()
    assert brightness[:3] == [0, 2.5, 3]
    assert math.isnan(brightness[3])
    assert brightness[4] == 0.5
    assert math.isnan(brightness[5])
    assert outside(table, "sharpness", before, 0.5).tolist()[1:3] == [5, 6]
    assert outside(table, "brightness", before, 0).tolist()[:3] == [10, 12.5, 13]


def test_without_a_version_before_nothing_is_outside() -> None:
    assert outside(FIRST, "brightness", None, 0.5).isna().all()


def test_the_accepted_version_is_never_outside(tmp_path: Path) -> None:
    accept(tmp_path / "reference.json", FIRST, None)
    grown = pd.concat([FIRST, manifest(("gear", "train", "good", 104.0))], ignore_index=True)
    before = version_before(tmp_path / "reference.json", grown)
    assert outside(grown, "brightness", before, 0).dropna().tolist() == [0] * 5


def test_the_same_data_again_is_compared_as_it_was_and_writes_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "reference.json"
    accept(file, FIRST, version_before(file, FIRST))
    second = pd.concat([FIRST, manifest(("gear", "train", "good", 200.0))], ignore_index=True)
    before = version_before(file, second)
    accept(file, second, before)
    content = file.read_bytes()
    assert version_before(file, second) == before
    accept(file, second, version_before(file, second))
    assert file.read_bytes() == content


def test_a_file_that_is_no_reference(tmp_path: Path) -> None:
    (tmp_path / "reference.json").write_text("{}")
    with pytest.raises(HarmoniadError, match=r"reference\.json: not a reference\. Delete it and run `dvc repro`"):
        version_before(tmp_path / "reference.json", FIRST)
