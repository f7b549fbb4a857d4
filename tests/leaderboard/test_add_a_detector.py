"""What docs/add-a-detector.md promises, done as it says: a folder is added, and it stands on the leaderboard."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

EXAMPLE = Path(__file__).with_name("mean_distance")
GUIDE = Path(__file__).parents[2] / "docs" / "add-a-detector.md"
PARAMS = """
sample: {train: 12, good: 4, defect: 6, size: 64}
encoder: {resolution: 64}
views: {synthetic: 0}
"""


@pytest.mark.parametrize("name", ["design.py", "detector.py"])
def test_the_guide_shows_the_example_that_is_tested(name: str) -> None:
    assert (EXAMPLE / name).read_text(encoding="utf-8") in GUIDE.read_text(encoding="utf-8")


def test_a_folder_is_added_and_stands_on_the_leaderboard(
    tmp_path: Path, make_project: Callable[[Path, str], Path], command: Callable[..., object]
) -> None:
    project = make_project(tmp_path / "plant ü", PARAMS)
    shutil.copytree(EXAMPLE, project / "harmoniad" / "models" / "mean_distance")
    own_code = {"PYTHONPATH": str(project)}
    command("harmoniad", "sample", cwd=project, **own_code)
    board = ("harmoniad", "leaderboard", "--detectors", "mean_distance,patchcore", "--seeds", "0")
    command(*board, cwd=project, **own_code)
    kept = {file: file.stat().st_mtime_ns for file in (project / ".harmoniad" / "leaderboard").glob("*.json")}

    table = pd.read_csv(project / "results" / "leaderboard" / "leaderboard.csv")
    means = table[table["part"] == "mean"].set_index("detector")
    assert set(means.index) == {"mean_distance", "patchcore"}
    assert means["image_auroc"].between(0.5, 1).all()
    assert "mean_distance" in (project / "results" / "leaderboard" / "index.html").read_text(encoding="utf-8")

    command(*board[:2], "--seeds", "0", "--detectors", "mean_distance,patchcore", cwd=project, **own_code)
    again = {file: file.stat().st_mtime_ns for file in (project / ".harmoniad" / "leaderboard").glob("*.json")}
    assert again == kept and len(kept) == 2, "what was measured is not measured again"
    with closing(sqlite3.connect(project / "mlflow" / "store" / "mlflow.db")) as database:
        names = [name for (name,) in database.execute("SELECT name FROM runs WHERE status = 'FINISHED'")]
    assert sorted(names) == ["sample, mean_distance, seed 0", "sample, patchcore, seed 0"]
