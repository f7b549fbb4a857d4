import csv
from pathlib import Path

import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.tracking.results import choose_heatmaps, files_to_log, model_folder, read_results


def scores_file(path: Path, heatmaps: list[tuple[str, str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["category", "defect", "heatmap"])
        writer.writerows(heatmaps)
    return path


def test_heatmaps_are_spread_over_categories_and_defects(tmp_path: Path) -> None:
    rows = [("bolt", "dent", f"dent-{n}") for n in (2, 0, 1)]
    rows += [
        ("bolt", "scratch", "scratch-0"),
        ("nut", "rust", "rust-0"),
        ("nut", "rust", ""),
        ("nut", "good", "good-0"),
    ]
    chosen = choose_heatmaps(scores_file(tmp_path / "scores.csv", rows), limit=6)
    assert [path.name for path in chosen] == ["dent-0", "good-0", "scratch-0", "rust-0", "dent-1", "dent-2"]


def test_heatmaps_are_limited(tmp_path: Path) -> None:
    rows = [("bolt", "dent", "a"), ("bolt", "dent", "b"), ("nut", "dent", "c")]
    file = scores_file(tmp_path / "scores.csv", rows)
    assert choose_heatmaps(file, limit=2) == [Path("a"), Path("c")]
    assert choose_heatmaps(file, limit=0) == []


@pytest.mark.usefixtures("project")
def test_model_folder_holds_what_the_inspector_needs() -> None:
    with model_folder() as folder:
        assert sorted(path.name for path in folder.iterdir()) == [
            "detector.safetensors",
            "model.json",
            "threshold.json",
        ]
    assert not folder.exists()


@pytest.mark.usefixtures("project")
def test_files_to_log() -> None:
    names = [path.as_posix() for path in files_to_log(heatmap_samples=1)]
    assert names == [
        "params.yaml",
        "dvc.lock",
        "results/evaluate/metrics.json",
        "results/evaluate/threshold.json",
        "results/evaluate/scores.csv",
        "results/evaluate/latency.json",
        "results/evaluate/plots/roc.csv",
        "results/evaluate/heatmaps/bolt/good-0 ü.png",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "results/train/model/model.json",
        "results/train/model/detector.safetensors",
        "results/evaluate/metrics.json",
        "results/evaluate/threshold.json",
        "results/evaluate/scores.csv",
    ],
)
@pytest.mark.usefixtures("project")
def test_missing_result(name: str) -> None:
    Path(name).unlink()
    with pytest.raises(HarmoniadError, match=f"{name}: no such file. Run `dvc repro`"):
        read_results()


@pytest.mark.usefixtures("project")
def test_model_and_metrics_of_different_data() -> None:
    file = Path("results/evaluate/metrics.json")
    file.write_text(file.read_text().replace("data-1", "data-2"))
    with pytest.raises(HarmoniadError, match=r"metrics\.json: measured on other data"):
        read_results()
