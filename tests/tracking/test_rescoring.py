"""Real models: the champion is loaded from MLflow, measured on images that it has never seen, and compared."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from harmoniad.cli import cli
from harmoniad.data.images import load_rgb
from harmoniad.errors import HarmoniadError
from harmoniad.inspector import Inspector
from harmoniad.params import Params
from harmoniad.stages import evaluate, prepare, register, train
from harmoniad.tracking import model_files, scorecard, store
from harmoniad.tracking.compare import changed_verdicts, compare
from harmoniad.tracking.judgement import card_of

NUT, BOLT = "Mutter ü", "bolt"


def write(path: Path, seed: int, level: float = 120, defect: float = 0) -> None:
    pixels = np.random.default_rng(seed).normal(level, 12, (64, 64, 3))
    pixels[20:34, 20:34] += defect
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def write_category(name: str, level: float) -> None:
    folder = Path("data/parts", name)
    for number in range(8):
        write(folder / f"train/good/{number}.png", 1000 + number, level)
    for number in range(5):
        write(folder / f"test/good/{number}.png", 2000 + number, level)
        write(folder / f"test/dent/{number}.png", 3000 + number, level, 10 * number)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:34, 20:34] = 255
    (folder / "ground_truth/dent").mkdir(parents=True)
    Image.fromarray(mask).save(folder / "ground_truth/dent/4_mask.png")


def params(**evaluation: Any) -> Params:
    return Params.model_validate(
        {
            "data": {"sets": ["parts"]},
            "device": "cpu",
            "prepare": {"held_out": 0.4},
            "encoder": {"resolution": 64, "layers": [2]},
            "detector": {"name": "patchcore", "patchcore": {"coreset": 0.2}},
            "views": {"synthetic": 0},
            "evaluate": {"heatmaps": 0, **evaluation},
        }
    )


def run_stages(settings: Params) -> str:
    prepare.run(settings, "parts")
    train.run(settings)
    evaluate.run(settings)
    return register.run(settings)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Path]:
    """Version 1 is champion; then a test image and a category came in, and version 2 scores by the mean pixel."""
    root = tmp_path_factory.mktemp("line") / "with space ü"
    (root / store.STORE_DIR).mkdir(parents=True)
    shutil.copyfile(migrated_database, root / store.DATABASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Path("params.yaml").write_text("data:\n  sets: [parts]\ndevice: cpu\n")
        write_category(NUT, 120)
        assert "promoted to champion: there was no champion" in run_stages(params())
        shutil.copytree("results", "results of version 1")
        write(Path("data/parts", NUT, "test/dent/new.png"), 4000, 120, 25)
        write_category(BOLT, 60)
        Path("second.txt").write_text(run_stages(params(top_share=1.0)))
        yield root


def version(number: int) -> Any:
    with store.connect() as client:
        return client.get_model_version("harmoniad", str(number))


def expected_scores() -> dict[str, float]:
    """What version 1 says of the current images, from its own folder and not from MLflow."""
    folder = Path("model of version 1")
    shutil.copytree("results of version 1/train/model", folder, dirs_exist_ok=True)
    shutil.copy("results of version 1/evaluate/threshold.json", folder)
    inspector = Inspector.load(folder, "cpu")
    rows = scorecard.current_images(params()).rows
    paths = rows.loc[rows["category"] == NUT, "path"].tolist()
    return {path: inspector.predict([load_rgb(Path(path))], [NUT])[0].score for path in paths}


def test_champion_was_scored_on_the_current_images(project: Path) -> None:
    second = Path("second.txt").read_text()
    assert "version 2" in second
    assert "compared" not in second
    images = scorecard.current_images(params())
    card = scorecard.kept(version(1).tags["model_digest"], images, None)
    assert card is not None
    expected = expected_scores()
    assert dict(zip(card.table["path"], card.table["score"], strict=True)) == pytest.approx(expected, rel=1e-5)
    assert any(path.endswith("test/dent/new.png") for path in card.table["path"])
    assert card.trained_on == [NUT]  # so it is not asked about bolts
    assert version(1).tags["test_fingerprint"] != version(2).tags["test_fingerprint"] == images.test_fingerprint
    checks = json.loads(version(2).tags["gate_table"])
    assert {check["name"] for check in checks} >= {
        "mean image AUROC",
        f"image AUROC of {NUT}",
        f"image AUROC of {BOLT}",
    }
    assert next(check for check in checks if check["name"] == "latency in ms an image")["challenger"] > 0


def test_scores_are_read_from_the_cache_and_made_anew_if_it_is_damaged(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, first = scorecard.current_images(params()), version(1)
    (file,) = (scorecard.SCORES_DIR / first.tags["model_digest"][:16]).glob(f"{images.test_fingerprint}-*.json")
    whole = file.read_bytes()
    with monkeypatch.context() as patch, store.connect():
        patch.setattr(model_files, "load", None)  # it would be called
        kept = card_of(first, images, params())
    for damage in (b"", b"{}", whole[:-40], whole.replace(b'"format": 1', b'"format": 0')):
        file.write_bytes(damage)
        with store.connect():
            again = card_of(first, images, params())
        pd.testing.assert_frame_equal(kept.table, again.table)
        assert file.read_bytes() == whole
    assert sorted(path.suffix for path in file.parent.iterdir()) == [".json"] * 2  # of both test sets


def test_changed_files_are_not_loaded(project: Path) -> None:
    content = Path("results of version 1/evaluate/threshold.json").read_bytes()
    found = store.ARTIFACTS.rglob("artifacts/model/threshold.json")
    (logged,) = (path for path in found if path.read_bytes() == content)
    logged.write_bytes(content.replace(b"0.05", b"0.06"))
    with store.connect(), pytest.raises(HarmoniadError, match="files of harmoniad version 1 were changed since it was"):
        model_files.load(version(1), params())
    logged.write_bytes(content)
    with store.connect():
        assert model_files.load(version(1), params()).trained.categories == [NUT]


def test_comparison_tells_what_changed(project: Path) -> None:
    text = compare(params(top_share=1.0), "1", "2")
    lines = text.splitlines()
    assert lines[0].split()[0] == "version"
    assert lines[0].endswith("change")
    names = [line.split("  ")[0] for line in lines[1:7]]
    assert names[0] == "mean image AUROC"
    assert f"image AUROC of {NUT}" in names
    assert f"image AUROC of {BOLT}" not in text
    assert f"was trained on: {BOLT}" in text
    images = scorecard.current_images(params())
    with store.connect():
        first, second = (card_of(version(number), images, params()).table for number in (1, 2))
    both = first.merge(second, on="path")
    both = both[both["split_x"] == "test"]
    changed = both[both["is_anomalous_x"] != both["is_anomalous_y"]]
    assert len(changed) > 0
    page = Path("results/compare/1-2.html").read_text(encoding="utf-8")
    assert f"{len(changed)} of {len(both)} verdicts changed" in page
    assert all(path.replace("&", "&amp;") in page for path in changed["path"])
    pictures = page.count('<img src="data:image/webp;base64,')
    assert pictures == 3 * len(changed) + changed["path"].str.endswith("dent/4.png").sum()


def test_versions_that_cannot_be_compared(project: Path) -> None:
    with pytest.raises(HarmoniadError, match="1 and 1 are the same version"):
        compare(params(), "1", "1")
    with pytest.raises(HarmoniadError, match=r"harmoniad has no version 9\. There are 1, 2"):
        compare(params(), "1", "9")


def test_commands(project: Path) -> None:
    runner = CliRunner()
    before = runner.invoke(cli, ["models"]).output
    result = runner.invoke(cli, ["compare", "2", "1", "--out", "pages ü/page.html"], catch_exceptions=False)
    assert result.output.endswith("page: pages ü/page.html\n")
    assert Path("pages ü/page.html").is_file()
    champion = "2" if "champion" in next(line for line in before.splitlines() if line.startswith("2 ")) else "1"
    other = {"1": "2", "2": "1"}[champion]
    assert (
        f"version {other} is @champion in place of version {champion}" in runner.invoke(cli, ["promote", other]).output
    )
    assert f"version {champion} is @champion again" in runner.invoke(cli, ["rollback"]).output


def test_order_of_changes() -> None:
    columns = ["path", "category", "label", "is_anomalous_first", "is_anomalous_second", "score_second"]
    rows = [
        ("a", "nut", "good", True, False, 0.9),
        ("b", "nut", "defect", False, True, 1.2),
        ("c", "nut", "good", False, True, 1.1),
        ("d", "nut", "defect", True, False, 0.9),
        ("e", "nut", "defect", True, False, 0.2),
        ("f", "nut", "good", False, False, 0.1),
    ]
    table = pd.DataFrame(rows, columns=columns).assign(threshold_second=1.0)
    found = changed_verdicts(table)
    assert found[["path", "change"]].values.tolist() == [
        ["e", "defect missed now"],
        ["d", "defect missed now"],
        ["c", "new false alarm"],
        ["b", "defect found now"],
        ["a", "false alarm gone"],
    ]
