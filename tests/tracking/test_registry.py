import datetime
import json
import multiprocessing
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from harmoniad.errors import HarmoniadError
from harmoniad.tracking import evidence, promotion, store
from harmoniad.tracking.registry import register
from harmoniad.tracking.versions import list_versions


def commit(message: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, "commit", "--quiet", "--allow-empty", "--message", message], check=True)


def visible_runs() -> list[Any]:
    with store.connect() as client:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments))


def test_first_registration(project: Any) -> None:
    registration = register(project.params, project.train())
    assert registration.version == 1
    assert registration.is_new
    assert registration.aliases == ["challenger", "champion"]
    assert registration.decision.promoted
    assert registration.decision.reasons == ["there was no champion; mean image AUROC 0.9000"]
    assert registration.compared_with is None


def test_registering_again_changes_nothing(project: Any) -> None:
    first = register(project.params, project.train())
    again = register(project.params, project.train())
    assert not again.is_new
    assert again.is_same_model
    assert (again.version, again.aliases, again.decision) == (1, first.aliases, first.decision)
    assert len(list_versions(project.params)) == len(visible_runs()) == 1


def test_same_model_from_another_commit_is_no_new_version(project: Any) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    commit("first")
    register(project.params, project.train())
    commit("second")
    registration = register(project.params, project.train())
    assert (registration.version, registration.is_new) == (1, False)
    registration = register(project.params, project.train(weight=2))
    assert (registration.version, registration.is_new) == (2, True)


def test_other_model_of_the_same_data_params_and_commit_is_no_new_version(project: Any) -> None:
    register(project.params, project.train())
    registration = register(project.params, project.train(weight=2))
    assert (registration.version, registration.is_new, registration.is_same_model) == (1, False, False)
    assert len(visible_runs()) == 1


def test_other_params_and_other_data_make_new_versions(project: Any) -> None:
    register(project.params, project.train(weight=1))
    project.change_params(seed=1)
    assert register(project.params, project.train(weight=2)).version == 2
    assert register(project.params, project.train(weight=2, data="data-2")).version == 3


def test_better_model_takes_the_place_of_the_champion(project: Any) -> None:
    register(project.params, project.train(mean=0.5))
    registration = register(project.params, project.train(weight=2, mean=0.95, data="data-2"))
    assert registration.decision.promoted
    assert registration.compared_with == 1
    assert [row.aliases for row in list_versions(project.params)] == [["challenger", "champion"], []]


def test_worse_model_is_challenger_only(project: Any) -> None:
    register(project.params, project.train(categories={"bolt": 0.92, "nut": 0.88}))
    registration = register(project.params, project.train(2, categories={"bolt": 0.93, "nut": 0.7}, data="data-2"))
    assert not registration.decision.promoted
    assert registration.aliases == ["challenger"]
    assert registration.decision.reasons == [
        "mean image AUROC 0.8150 against 0.9000 of the champion: lower by 0.0850, more than the tolerance 0.002",
        "recall at the same false positive rate 0.8000 against 0.8500 of the champion: lower by 0.0500, "
        "more than the tolerance 0.03",
        "image AUROC of nut 0.7000 against 0.8800 of the champion: lower by 0.1800, more than the tolerance 0.02",
    ]
    assert [row.aliases for row in list_versions(project.params)] == [["challenger"], ["champion"]]


def test_tolerances_come_from_the_params(project: Any) -> None:
    register(project.params, project.train(mean=0.9))
    rules = ["mean", "category", "recall", "balanced_accuracy"]
    project.change_params(gate={f"{rule}_tolerance": 0.3 for rule in rules})
    registration = register(project.params, project.train(weight=2, mean=0.75))
    assert registration.decision.reasons[0].startswith("no better than the champion beyond chance, and a tie keeps it")


def test_tie_keeps_the_champion(project: Any) -> None:
    register(project.params, project.train())
    registration = register(project.params, project.train(weight=2, data="data-2"))
    assert registration.decision.reasons == [
        "no better than the champion beyond chance, and a tie keeps it: mean image AUROC 0.9000 against 0.9000, "
        "difference +0.0000, 95 % interval +0.0000 to +0.0000"
    ]
    assert registration.aliases == ["challenger"]


def test_champion_that_cannot_be_measured_on_the_new_test_images_is_kept(project: Any) -> None:
    register(project.params, project.train())
    registration = register(project.params, project.train(weight=2, mean=1.0, data="data-2", test="test-2"))
    assert not registration.decision.promoted
    assert registration.decision.reasons == [
        "the champion cannot be measured on the current images: harmoniad version 1 was made by another version of "
        "harmoniad. Check its commit out to use it. `harmoniad promote VERSION` decides by hand."
    ]


def test_results_of_other_images_are_refused(project: Any) -> None:
    results = project.train()
    project.train(test="test-2")
    with pytest.raises(HarmoniadError, match=r"scores.csv: measured on other images than there are. Run `dvc repro`"):
        register(project.params, results)


def test_decision_goes_to_the_run_and_into_the_report(project: Any) -> None:
    import mlflow

    register(project.params, project.train())
    register(project.params, project.train(weight=2, mean=0.5, data="data-2"))
    with store.connect() as client:
        version = client.get_model_version("harmoniad", "2")
        run = client.get_run(version.run_id)
        experiment = client.get_experiment_by_name("harmoniad").experiment_id
        table = client.load_table(experiment, "gate.json", [version.run_id])
        page = mlflow.artifacts.load_text(f"runs:/{version.run_id}/report/index.html")
    assert run.data.tags["gate_decision"] == version.tags["gate_decision"] == "kept"
    assert run.data.tags["gate_reasons"] == version.tags["gate_reasons"]
    assert run.data.metrics["latency_ms"] == 20
    (mean,) = table[table["name"] == "mean image AUROC"].to_dict("records")
    assert (mean["champion"], mean["challenger"], mean["side"]) == (0.9, 0.5, "against")
    assert page == Path("results/report/index.html").read_text()
    assert page.startswith("<p>report</p>")
    for text in ("Version 2 does not become the champion", "version 1, on the same images", mean["reason"]):
        assert text in page


def test_report_has_the_decision_again_after_another_evaluation(project: Any) -> None:
    register(project.params, project.train())
    shutil.rmtree("results/report")
    register(project.params, project.train())
    assert "Version 1 becomes the champion" in Path("results/report/index.html").read_text()


def test_latency_above_the_budget_keeps_even_the_first_model_out(project: Any) -> None:
    project.change_params(gate={"latency_ms": 19.5})
    registration = register(project.params, project.train())
    assert registration.decision.reasons == [
        "an image takes 20.0 ms from file to verdict, more than the budget of 19.5 ms"
    ]
    assert registration.aliases == ["challenger"]


def test_champion_that_changes_while_it_is_measured_is_not_overwritten(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine promotes version 2 while version 3 is being compared with version 1."""
    register(project.params, project.train(mean=0.5))
    register(project.params, project.train(weight=2, mean=0.5, data="data-2"))
    original, seen = evidence.difference, []

    def slow(*arguments: Any) -> Any:
        if not seen:
            MlflowClient().set_registered_model_alias("harmoniad", "champion", "2")
        seen.append(1)
        return original(*arguments)

    monkeypatch.setattr(evidence, "difference", slow)
    registration = register(project.params, project.train(weight=3, mean=0.95, data="data-3"))
    assert (len(seen), registration.compared_with, registration.decision.promoted) == (2, 2, True)
    with store.connect() as client:
        assert json.loads(client.get_registered_model("harmoniad").tags["champion_history"]) == [1, 2, 3]


def test_gate_outlives_the_champions_run(project: Any) -> None:
    register(project.params, project.train())
    with store.connect() as client:
        client.delete_run(client.get_model_version("harmoniad", "1").run_id)
    shutil.rmtree(store.ARTIFACTS)
    assert not register(project.params, project.train(weight=2, mean=0.5, data="data-2")).decision.promoted


def test_champion_that_somebody_else_registered_is_kept(project: Any) -> None:
    with store.connect() as client:
        client.create_registered_model("harmoniad")
        client.create_model_version("harmoniad", "file:///nowhere")
        client.set_registered_model_alias("harmoniad", "champion", "1")
    registration = register(project.params, project.train())
    assert (registration.version, registration.decision.promoted) == (2, False)
    assert list_versions(project.params)[1].image_auroc is None


def test_alias_moved_by_hand_stays_where_it_is(project: Any) -> None:
    register(project.params, project.train(mean=0.5))
    second = project.train(weight=2, mean=0.95, data="data-2")
    register(project.params, second)
    with store.connect() as client:
        client.set_registered_model_alias("harmoniad", "champion", "1")
    assert register(project.params, second).aliases == ["challenger"]
    assert [row.aliases for row in list_versions(project.params)] == [["challenger"], ["champion"]]


def test_deleted_store_is_filled_again(project: Any) -> None:
    register(project.params, project.train())
    shutil.rmtree(store.STORE_DIR)
    registration = register(project.params, project.train())
    assert (registration.version, registration.is_new) == (1, True)
    assert registration.aliases == ["challenger", "champion"]


def test_deleted_version_is_registered_again_from_its_run(project: Any) -> None:
    register(project.params, project.train())
    with store.connect() as client:
        client.delete_registered_model("harmoniad")
    registration = register(project.params, project.train())
    assert registration.is_new
    assert registration.aliases == ["challenger", "champion"]
    assert len(visible_runs()) == 1


def test_version_whose_files_are_gone_is_registered_again(project: Any) -> None:
    register(project.params, project.train())
    shutil.rmtree(store.ARTIFACTS)
    registration = register(project.params, project.train())
    assert (registration.version, registration.is_new) == (2, True)
    assert registration.aliases == ["challenger", "champion"]


def test_deleted_experiment_is_brought_back(project: Any) -> None:
    register(project.params, project.train())
    with store.connect() as client:
        client.delete_experiment(client.get_experiment_by_name("harmoniad").experiment_id)
        client.delete_registered_model("harmoniad")
    assert register(project.params, project.train()).is_new


def test_failed_run_is_cleared_away(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    results = project.train()
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.log_artifact", fail)
        with pytest.raises(HarmoniadError, match="mlflow/store: the disk is full"):
            register(project.params, results)
    assert [run.info.status for run in visible_runs()] == ["FAILED"]
    assert register(project.params, results).version == 1
    assert [run.info.status for run in visible_runs()] == ["FINISHED"]


def test_runs_of_other_tools_are_left_alone(project: Any) -> None:
    with store.connect() as client:
        client.create_run(store.experiment(client, "harmoniad"))
    register(project.params, project.train())
    assert sorted(run.info.status for run in visible_runs()) == ["FINISHED", "RUNNING"]


def register_in_a_process(project: Any, queue: Any) -> None:
    queue.put(register(project.params, project.train()).is_new)


def test_two_registrations_at_once_make_one_version(project: Any) -> None:
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    processes = [fork.Process(target=register_in_a_process, args=(project, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    outcomes = [queue.get(timeout=240) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(outcomes) == [False, True]
    assert len(list_versions(project.params)) == len(visible_runs()) == 1


def test_registration_that_never_ends_is_named(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    monkeypatch.setattr(promotion, "SECONDS_TO_WAIT", 0.1)
    promotion.LOCK.parent.mkdir()
    with (
        filelock.FileLock(promotion.LOCK),
        pytest.raises(HarmoniadError, match=r"\.harmoniad/register\.lock: another registration has been running"),
    ):
        register(project.params, project.train())


def test_listing_tells_the_key_figures(project: Any) -> None:
    register(project.params, project.train())
    (row,) = list_versions(project.params)
    created = datetime.datetime.strptime(row.created, "%Y-%m-%d %H:%M")
    assert abs(created - datetime.datetime.now()) < datetime.timedelta(minutes=2)
    assert (row.version, row.detector, row.encoder) == (1, "patchcore", "timm:tiny")
    assert (row.image_auroc, row.pixel_auroc, row.aupro) == (0.9, 0.95, 0.85)
    assert (row.data_fingerprint, row.decision) == ("data-1", "promoted")


def test_listing_without_a_store_makes_none(project: Any) -> None:
    shutil.rmtree(store.STORE_DIR)
    assert list_versions(project.params) == []
    assert not store.STORE_DIR.exists()


def test_listing_of_an_empty_store(project: Any) -> None:
    assert list_versions(project.params) == []


def test_versions_are_in_numerical_order(project: Any) -> None:
    with store.connect() as client:
        client.create_registered_model("harmoniad")
        for _ in range(11):
            client.create_model_version("harmoniad", "file:///nowhere")
    assert [row.version for row in list_versions(project.params)] == list(range(11, 0, -1))


def test_figures_of_a_version_are_exact(project: Any) -> None:
    register(project.params, project.train(categories={"Kabel ü": 2 / 3, "nut": None}))
    with store.connect() as client:
        tags = client.get_model_version("harmoniad", "1").tags
    assert float(tags["image_auroc"]) == 2 / 3
    assert json.loads(tags["image_auroc_by_category"]) == {"Kabel ü": 2 / 3, "nut": None}
