import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.stages.register import REGISTERED_FILE, run
from harmoniad.tracking import store
from harmoniad.tracking.results import read_results

_shared = runpy.run_path(str(Path(__file__).parents[1] / "tracking/conftest.py"))
project, migrated_database = _shared["project"], _shared["migrated_database"]


def test_first_model(project: Any) -> None:
    assert run(project.params) == (
        "register: harmoniad version 1 (@challenger, @champion), promoted to champion: "
        "there was no champion; mean image AUROC 0.9000"
    )
    registered = json.loads(REGISTERED_FILE.read_text())
    assert {"name", "champion", "challenger", "side", "reason"} <= set(registered.pop("checks")[0])
    assert registered == {
        "name": "harmoniad",
        "version": 1,
        "aliases": ["challenger", "champion"],
        "data_fingerprint": "data-1",
        "test_fingerprint": read_results().test_fingerprint,
        "decision": "promoted",
        "reasons": ["there was no champion; mean image AUROC 0.9000"],
        "compared_with": None,
        "mean": {"image_auroc": 0.9, "image_ap": 0.91, "pixel_auroc": 0.95, "pixel_ap": None, "aupro": 0.85},
    }


def test_same_model_again(project: Any) -> None:
    run(project.params)
    written = REGISTERED_FILE.read_bytes()
    REGISTERED_FILE.unlink()  # as DVC does before it runs a stage
    assert run(project.params) == "register: harmoniad version 1 (@challenger, @champion) is this model: nothing to do"
    assert REGISTERED_FILE.read_bytes() == written


def test_worse_model(project: Any) -> None:
    run(project.params)
    project.train(weight=2, mean=0.8, data="data-2")
    assert run(project.params).startswith(
        "register: harmoniad version 2 (@challenger), the champion stays: mean image AUROC 0.8000 against 0.9000 of "
        "the champion: lower by 0.1000, more than the tolerance 0.002; "
    )
    registered = json.loads(REGISTERED_FILE.read_text())
    assert (registered["version"], registered["decision"], registered["compared_with"]) == (2, "kept", 1)


def test_model_of_code_that_is_not_committed(project: Any) -> None:
    run(project.params)
    project.train(weight=2)
    assert run(project.params) == (
        "register: harmoniad version 1 (@challenger, @champion) holds another model of the same data, params and "
        "commit. Commit the changed code to register this one."
    )


def test_summary_has_the_same_bytes_on_another_store(project: Any, migrated_database: Path) -> None:
    run(project.params)
    written = REGISTERED_FILE.read_bytes()
    shutil.rmtree(store.STORE_DIR)
    store.STORE_DIR.mkdir()
    shutil.copyfile(migrated_database, store.DATABASE)
    run(project.params)
    assert REGISTERED_FILE.read_bytes() == written


def test_missing_results(project: Any) -> None:
    shutil.rmtree("results/evaluate")
    with pytest.raises(HarmoniadError, match=r"results/evaluate/metrics.json: no such file. Run `dvc repro`"):
        run(project.params)
    assert not store.ARTIFACTS.exists()


def test_command_prints_one_line(project: Any) -> None:
    store.DATABASE.unlink()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "harmoniad", "register"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("register: harmoniad version 1 (@challenger, @champion), promoted")
    assert done.stdout.count("\n") == 1
