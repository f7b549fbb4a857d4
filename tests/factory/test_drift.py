"""New images against what a real champion knows."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from harmoniad.factory import drift
from harmoniad.factory.champion import champion
from harmoniad.factory.drift import LOOK, NOTHING_NEW, RETRAIN
from harmoniad.params import Params, load_params
from harmoniad.stages import prepare

Shot = Callable[..., Path]
BOLTS = Path("data/plant/bolt/train/good")


def settings(**drift_settings: object) -> Params:
    params = load_params()
    return params.model_copy(update={"drift": params.drift.model_copy(update=drift_settings)})


def table() -> dict[tuple[str, str], dict[str, str]]:
    with (drift.FOLDER / "drift.csv").open(encoding="utf-8", newline="") as file:
        return {(row["category"], row["measure"]): row for row in csv.DictReader(file)}


def test_nothing_new(trained: Path) -> None:
    assert drift.run(load_params()).decision == NOTHING_NEW
    assert drift.accept(load_params()) == "drift: there is no finding to accept"
    assert json.loads(Path("results/drift/drift.json").read_text())["reasons"] == ["no image has come in"]


def test_images_like_those_before_are_trained_on(trained: Path, take_shot: Shot) -> None:
    for seed in range(300, 312):
        take_shot(BOLTS / f"{seed}.png", seed, "bolt")
    take_shot(Path("data/plant/bolt/test/bent/new.png"), 1, "bolt", light=0.4)
    take_shot(Path("data/plant/washer/train/good/1.png"), 2, "bolt")
    outcome = drift.run(load_params())
    assert (outcome.decision, outcome.champion, outcome.new_images) == (RETRAIN, 1, 14)
    found = table()
    assert {measure for category, measure in found if category == "bolt"} == {
        "score",
        "features",
        "brightness",
        "sharpness",
    }
    row = found["bolt", "score"]
    assert (row["new"], row["drift"], row["note"]) == ("12", "False", "")
    assert int(row["reference"]) > 16  # the good test images and those held out
    assert 0 < float(row["p_adjusted"]) <= 1
    assert found["washer", "score"]["note"] == "no reference: the champion was not measured on this category"
    with Path("results/drift/images.csv").open(encoding="utf-8", newline="") as file:
        verdicts = {Path(line["path"]).name: line for line in csv.DictReader(file)}
    assert len(verdicts) == 14
    assert verdicts["new.png"]["is_anomalous"] == "True"


def test_another_light_is_for_a_person_to_look_at_until_it_is_accepted(trained: Path, take_shot: Shot) -> None:
    for seed in range(300, 310):
        take_shot(BOLTS / f"{seed}.png", seed, "bolt", light=0.8)
        take_shot(Path(f"data/plant/nut ü/train/good/{seed}.png"), seed, "nut ü")
    outcome = drift.run(load_params())
    assert outcome.decision == LOOK
    assert outcome.lines()[0].startswith("drift: a person should look: the ")
    found = table()
    assert [key for key, row in found.items() if row["drift"] == "True" and key[0] != "bolt"] == []
    assert found["bolt", "brightness"]["drift"] == "True"
    assert float(found["bolt", "brightness"]["effect"]) == -1
    assert any(
        reason.startswith("the brightness of the 10 new good images of bolt is lower") for reason in outcome.reasons
    )
    with Image.open("results/drift/drift.png") as plot:
        assert plot.format == "PNG"
        assert plot.width > 800
    logged = runs()
    assert [run["drift_decision"] for run in logged] == [LOOK]
    drift.run(load_params())
    assert len(runs()) == 1  # the same finding is logged once

    assert drift.accept(load_params()).startswith("drift: 10 new good images of bolt are accepted")
    assert drift.run(load_params()).decision == RETRAIN
    prepare.run(load_params(), "plant")  # the accepted images are trained on, and more come in under the new light
    for seed in range(400, 410):
        take_shot(BOLTS / f"{seed}.png", seed, "bolt", light=0.8)
    assert drift.run(load_params()).decision == RETRAIN
    assert table()["bolt", "score"]["reference"] == "10"  # this champion has not learned from what was accepted
    for seed in range(500, 510):
        take_shot(BOLTS / f"{seed}.png", seed, "bolt")  # the old light would be drift now
    for seed in range(400, 410):
        (BOLTS / f"{seed}.png").unlink()
    assert drift.run(load_params()).decision == LOOK


def runs() -> list[dict[str, str]]:
    from harmoniad.tracking import store

    with store.connect() as client:
        experiment = client.get_experiment_by_name("harmoniad-drift")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id])
        for run in found:
            files = {file.path for file in client.list_artifacts(run.info.run_id)}
            assert files == {"drift.json", "drift.csv", "drift.png", "images.csv"}
        return [dict(run.data.tags) for run in found]


def test_too_few_images_say_nothing(trained: Path, take_shot: Shot) -> None:
    for seed in range(300, 304):
        take_shot(BOLTS / f"{seed}.png", seed, "bolt", light=0.3)
    outcome = drift.run(settings())
    assert outcome.decision == RETRAIN
    assert table()["bolt", "score"]["note"] == "only 4 new good images"
    assert drift.run(settings(retrain_from=5)).decision == NOTHING_NEW


def test_without_a_champion_the_reason_is_told(trained: Path, take_shot: Shot, monkeypatch: pytest.MonkeyPatch) -> None:
    take_shot(BOLTS / "300.png", 300, "bolt")
    for scores in Path("mlflow/store").rglob("scores.csv"):
        scores.unlink()
    assert "scores.csv" in drift.run(load_params()).skipped
    Path("mlflow/store").rename("mlflow/elsewhere")
    outcome = drift.run(load_params())
    assert (outcome.decision, outcome.skipped) == (RETRAIN, "there is no champion yet")
    assert "note: no comparison: there is no champion yet" in outcome.lines()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    outcome = drift.run(load_params())
    assert outcome.decision == RETRAIN
    assert outcome.skipped.startswith("MLFLOW_TRACKING_URI: http://127.0.0.1:9 does not answer")


def test_the_champion_keeps_names_that_are_numbers(trained: Path) -> None:
    (scores,) = Path().rglob("artifacts/scores.csv")
    text = scores.read_text(encoding="utf-8")
    scores.write_text(text.replace(",bolt,", ",007,").replace(",nut ü,", ",12,"), encoding="utf-8")
    with champion(load_params()) as found:
        assert set(found.measured_on["category"]) == {"007", "12"}
