from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.leaderboard.entries import DataSet, Entry, entries_of, read_data_set
from harmoniad.leaderboard.figures import boards_of, image_auroc
from harmoniad.leaderboard.page import terminal_table, write_pages
from harmoniad.params import Params, check_params


def rows(scores: list[float], kinds: list[str], category: str = "kit") -> list[dict[str, Any]]:
    """Of each image its score, and what it is: good, or a group and an area such as `logical large`."""
    found = []
    for number, (score, kind) in enumerate(zip(scores, kinds, strict=True)):
        group, _, area = kind.partition(" ") if kind != "good" else ("", "", "")
        label = "good" if kind == "good" else "defect"
        found.append(
            {"path": f"{number}.png", "category": category, "label": label, "defect": kind, "group": group}
            | {"area": area, "score": score, "threshold": 0.5}
        )
    return found


def measured(scores: list[dict[str, Any]], **figures: float) -> dict[str, Any]:
    mean = {"image_auroc": 0.5, "pixel_ap": 0.25} | figures
    costs = {"train_seconds": 2.0, "scoring_images_per_second": 100.0, "peak_memory_bytes": 5e8, "threads": 1}
    about = {"encoder": "timm:tiny", "weights": "embedded", "resolution": 64}
    return {"mean": mean, "categories": {"kit": mean}, "scores": scores} | costs | about


def entry(detector: str, seed: int = 0, data_set: str = "logical") -> Any:
    """Enough of an entry for the figures."""
    images = SimpleNamespace(name=data_set, fingerprint="d4", test_fingerprint="e5")
    return SimpleNamespace(detector=detector, data_set=images, params=SimpleNamespace(seed=seed))


KINDS = ["good", "good", "good", "logical large", "logical large", "structural tiny"]


def test_image_auroc_of_a_group_is_against_all_good_images() -> None:
    run = rows([1, 2, 3, 2.5, 0, 9], KINDS)
    logical, structural, tiny, everything = (
        image_auroc([run], ["kit"], group) for group in ("logical", "structural", "tiny", None)
    )
    assert logical is not None and logical.estimate == pytest.approx((2 / 3 + 0) / 2)
    assert structural is not None and structural.estimate == 1
    assert tiny == structural
    assert everything is not None and everything.estimate == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_image_auroc_is_the_mean_over_categories_and_seeds() -> None:
    runs = [
        rows([1, 2], ["good", "logical large"]) + rows([3, 2], ["good", "logical large"], "board"),
        rows([1, 2], ["good", "logical large"]) + rows([1, 2], ["good", "logical large"], "board"),
    ]
    found = image_auroc(runs, ["board", "kit"])
    assert found is not None and found.estimate == pytest.approx(0.75)


def test_a_group_that_the_data_set_does_not_hold_has_no_figure() -> None:
    assert image_auroc([rows([1, 2], ["good", "structural large"])], ["kit"], "logical") is None


def test_a_perfect_score_of_few_images_is_not_certain() -> None:
    found = image_auroc([rows([1, 2, 3, 4], ["good", "good", "logical large", "logical large"])], ["kit"])
    assert found is not None and found.estimate == found.high == 1
    assert found.low == pytest.approx(0.025**0.5)


def test_rows_are_ranked_and_hold_mean_and_spread_over_the_seeds() -> None:
    good, bad = rows([1, 2, 3, 4, 5, 6], KINDS), rows([6, 5, 4, 3, 2, 1], KINDS)
    (board,) = boards_of(
        [
            (entry("worse"), measured(bad, image_auroc=0.1)),
            (entry("better", 0), measured(good, image_auroc=0.8)),
            (entry("better", 1), measured(good, image_auroc=1.0)),
            (entry("absent"), {"error": "needs a text tower"}),
        ]
    )
    assert [row.detector for row in board.rows] == ["better", "worse", "absent"]
    assert board.rows[0].seeds == (0, 1)
    assert board.rows[0].figures["image_auroc"] == pytest.approx(0.9)
    assert board.rows[0].spread["image_auroc"] == pytest.approx(0.02**0.5)
    assert board.rows[0].figures["milliseconds"] == pytest.approx(10)
    assert board.groups == ["logical", "structural", "tiny"] and board.categories == ["kit"]
    assert board.rows[2].problem == "needs a text tower"


def test_page_and_tables_show_every_detector_and_escape_names(tmp_path: Path) -> None:
    run = rows([1, 2, 3, 4, 5, 6], KINDS, category="<script>")
    boards = boards_of(
        [
            (entry("better", data_set="a&b"), measured(run, spro_logical=0.125)),
            (entry("absent", data_set="a&b"), {"error": "<b>no</b> text\ntower"}),
        ]
    )
    page = write_pages(tmp_path / "with space ü", boards, "harmoniad leaderboard")
    text = page.read_text(encoding="utf-8")
    assert "sPRO logical" in text and "0.125" in text and "sPRO structural" not in text
    assert "a&amp;b" in text and "&lt;script&gt;" in text and "<b>no</b>" not in text
    table = pd.read_csv(page.with_name("leaderboard.csv"))
    assert set(table["part"]) == {
        "mean",
        "defects: logical",
        "defects: structural",
        "defects: tiny",
        "category: <script>",
    }
    assert set(table["data_fingerprint"]) == {"d4"} and "timm:tiny" in set(table["encoder"])
    shown = terminal_table(boards[0])
    assert "better" in shown and "<b>no</b> text tower" in shown


def test_only_what_decides_an_entry_decides_its_key() -> None:
    images = DataSet("sample", pd.DataFrame({name: ["x"] for name in _COLUMNS}))

    def key(**changes: Any) -> str:
        return Entry(images, check_params({"detector": {"name": "patchcore"}} | changes, "")).key

    assert key() == key(gate={"resamples": 500}) == key(detector={"name": "patchcore", "padim": {"channels": 7}})
    others = [{"seed": 1}, {"detector": {"name": "padim"}}, {"evaluate": {"top_share": 0.5}}]
    others.append({"detector": {"name": "patchcore", "patchcore": {"coreset": 0.5}}})
    assert len({key(), *(key(**other) for other in others)}) == 1 + len(others)


_COLUMNS = ("category", "split", "label", "defect", "sha256", "mask_sha256")


def test_entries_are_every_detector_on_every_set_with_every_seed() -> None:
    sets = [DataSet("a", pd.DataFrame()), DataSet("b", pd.DataFrame())]
    entries = entries_of(sets, ["padim", "patchcore"], [0, 1], Params())
    labels = [found.label for found in entries]
    assert len(set(labels)) == 8 and labels[:2] == ["a, padim, seed 0", "a, patchcore, seed 0"]


def test_an_unknown_detector_is_told_the_known_ones() -> None:
    with pytest.raises(HarmoniadError, match=r"no detector `magic`. Known: .*patchcore"):
        entries_of([], ["magic"], [0], Params())


def test_a_missing_data_set_is_told_how_to_bring_it_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarmoniadError, match=r"data/mine: no such data set. `harmoniad data add`"):
        read_data_set("mine", Params())
