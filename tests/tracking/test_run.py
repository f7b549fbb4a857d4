import json
from pathlib import Path
from typing import Any

import pytest

from harmoniad.tracking import store
from harmoniad.tracking.registry import register
from harmoniad.tracking.results import read_results
from harmoniad.tracking.run import flat_params, metric_key, pip_requirements


def test_params_are_flattened() -> None:
    flat = flat_params({"seed": 0, "data": {"sets": ["a", "ü"], "deep": {"on": True, "none": None}}, "device": "auto"})
    assert flat == {
        "seed": "0",
        "data.sets": '["a", "ü"]',
        "data.deep.on": "true",
        "data.deep.none": "null",
        "device": "auto",
    }


def test_long_params_are_cut() -> None:
    assert flat_params({"sets": ["a" * 7000]}) == {"sets": '["' + "a" * 5998}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("bolt/image_auroc", "bolt/image_auroc"),
        ("Kabel ü-1.a/aupro", "Kabel ü-1.a/aupro"),
        ("50% #1: a+b/aupro", "50_ _1_ a_b/aupro"),
        ("x" * 300 + "/aupro", "x" * 244 + "/aupro"),
    ],
)
def test_metric_key(name: str, key: str) -> None:
    assert metric_key(name) == key


def test_pip_requirements_are_exact_and_installable() -> None:
    requirements = pip_requirements()
    assert {"mlflow", "torch"} <= {requirement.partition("==")[0] for requirement in requirements}
    assert not any("+" in requirement for requirement in requirements)


@pytest.fixture
def logged(project: Any) -> Any:
    """The run of a registration, with a category that MLflow's names do not allow."""
    project.change_params(seed=7, register={"heatmap_samples": 3})
    results = project.train(categories={"50% #1": 0.8, "nut": None})
    register(project.params, results)
    with store.connect() as client:
        return client.search_runs([client.get_experiment_by_name("harmoniad").experiment_id])[0]


def test_run_is_complete(logged: Any, project: Any) -> None:
    import mlflow

    data = logged.data
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name.startswith("harmoniad 2")
    assert data.params["seed"] == "7"
    assert data.params["detector.harmoniad.width"] == "96"
    assert data.metrics["image_auroc"] == 0.8
    assert data.metrics["50_ _1/image_auroc"] == 0.8
    assert "nut/image_auroc" not in data.metrics
    assert "pixel_ap" not in data.metrics
    assert data.metrics["nut/aupro"] == 0.85
    expected = {
        "data_fingerprint": "data-1",
        "test_fingerprint": read_results().test_fingerprint,
        "git_commit": "none",
        "git_dirty": "false",
        "encoder": "timm:tiny",
        "weights": "embedded",
        "weights_sha256": "ab" * 32,
        "resolution": "64",
        "detector": "patchcore",
        "seed": "0",
    }
    assert {key: data.tags[key] for key in expected} == expected
    assert len(data.tags["dvc_lock_sha256"]) == 64
    with store.connect():
        folder = Path(mlflow.artifacts.download_artifacts(run_id=logged.info.run_id))
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "dvc.lock",
        "gate.json",
        "heatmaps/50% #1/good-0 ü.png",
        "heatmaps/50% #1/scratch-0 ü.png",
        "heatmaps/nut/good-0 ü.png",
        "latency.json",
        "metrics.json",
        "params.yaml",
        "plots/roc.csv",
        "report/index.html",
        "scores.csv",
        "threshold.json",
    ]
    assert json.loads((folder / "metrics.json").read_text())["categories"]["50% #1"]["image_auroc"] == 0.8
    assert (project.root / "mlflow/store/artifacts") in folder.parents


def test_more_figures_than_mlflow_takes_at_once(project: Any) -> None:
    results = project.train(categories={f"part {number}": 0.5 for number in range(300)})
    register(project.params, results)
    with store.connect() as client:
        run = client.search_runs([client.get_experiment_by_name("harmoniad").experiment_id])[0]
    assert len(run.data.metrics) == 5 + 300 * 4  # the latency is the fifth
