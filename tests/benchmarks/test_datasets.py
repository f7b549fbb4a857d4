import hashlib

import pandas as pd
import pytest

from benchmarks.datasets import hold_out, part_of
from harmoniad.leaderboard.measure import area_of


def manifest_of(count: int) -> pd.DataFrame:
    rows = []
    for index in range(count):
        split, label = [("train", "good"), ("held_out", "good"), ("test", "good"), ("test", "defect")][index % 4]
        sha256 = hashlib.sha256(str(index).encode()).hexdigest()
        rows.append({"sha256": sha256, "category": "ab"[index // 4 % 2], "split": split, "label": label})
    return pd.DataFrame(rows)


def test_validation_and_test_part_share_no_image_and_make_up_all() -> None:
    manifest = manifest_of(400)
    validation, test = (part_of(manifest, part) for part in ("validation", "test"))
    assert part_of(manifest, "all").equals(manifest)
    images = [set(part.loc[part["split"] == "test", "sha256"]) for part in (validation, test)]
    assert not images[0] & images[1]
    assert images[0] | images[1] == set(manifest.loc[manifest["split"] == "test", "sha256"])
    assert 70 < len(images[0]) < 130
    for part in (validation, test):
        assert len(part[part["split"] == "test"].groupby(["category", "label"])) == 4
        assert (part["split"] != "test").sum() == (manifest["split"] != "test").sum()


def test_a_part_does_not_depend_on_which_other_images_there_are() -> None:
    manifest = manifest_of(400)
    few = part_of(manifest[:200], "validation")
    many = part_of(manifest, "validation")
    assert set(few.loc[few["split"] == "test", "sha256"]) <= set(many["sha256"])


def test_a_seed_chooses_other_held_out_images_and_leaves_the_test_images() -> None:
    manifest = manifest_of(800)
    assert hold_out(manifest, 0, 0.15).equals(manifest)
    drawn = [hold_out(manifest, seed, 0.15) for seed in (1, 2)]
    held_out = [set(table.loc[table["split"] == "held_out", "sha256"]) for table in drawn]
    assert held_out[0] != held_out[1]
    for table, chosen in zip(drawn, held_out, strict=True):
        assert 30 < len(chosen) < 95  # 15 % of 400
        assert (table.loc[table["sha256"].isin(chosen), "label"] == "good").all()
        assert ((table["split"] == "test") == (manifest["split"] == "test")).all()
    assert hold_out(manifest, 1, 0.15).equals(drawn[0])


@pytest.mark.parametrize(
    ("pixels", "area"), [(0, None), (99, "tiny"), (100, "small"), (999, "small"), (1000, "large"), (100_000, "large")]
)
def test_area_of_a_defect(pixels: int, area: str | None) -> None:
    assert area_of({"mask_area": pixels, "mask_width": 400, "mask_height": 250}) == area
