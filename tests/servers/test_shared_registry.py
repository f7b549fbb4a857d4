"""Registering, promoting and rolling back at an MLflow server on PostgreSQL that keeps its files in an S3 store."""

import json
import multiprocessing
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pytest

from harmoniad.inspector import Inspector
from harmoniad.tracking import model_files, promotion, store
from harmoniad.tracking.promotion import promote, rollback
from harmoniad.tracking.registry import register
from harmoniad.tracking.results import MODEL_FILES, read_results
from harmoniad.tracking.versions import find, list_versions
from tests.tracking.test_pyfunc_model import IMAGES

# One set of servers for all; on a busy machine they take minutes to start.
pytestmark = [pytest.mark.xdist_group("servers"), pytest.mark.timeout(900)]


@pytest.fixture
def shared(project: Any, mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project whose store is the server; each test has a model of its own there."""
    shutil.rmtree(store.STORE_DIR)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    name = f"model {os.urandom(4).hex()}"
    project.change_params(register={"model_name": name, "experiment": f"{name} ü"})
    return project


def test_registered_model_lives_in_postgresql_and_s3(shared: Any, trained: Path, postgres: Any, s3: Any) -> None:
    import mlflow

    for path in MODEL_FILES:
        shutil.copyfile(trained / path.name, path)
    name = shared.params.register_.model_name
    assert register(shared.params, read_results()).aliases == ["challenger", "champion"]
    assert not register(shared.params, read_results()).is_new

    with store.connect() as client:
        with model_files.files_of(find(client, name, "champion")) as folder:
            downloaded = {path.name: path.read_bytes() for path in folder.iterdir()}
        model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    assert downloaded == {path.name: path.read_bytes() for path in MODEL_FILES}
    expected = Inspector.load(trained, "cpu").predict(list(IMAGES))
    found = model.predict(IMAGES, params={"category": "bolt"})
    np.testing.assert_array_equal(found["score"], [prediction.score for prediction in expected])
    assert found["is_anomalous"].tolist() == [True] * 4

    assert not store.STORE_DIR.exists()
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="mlflow")
    keys = [stored["Key"] for page in pages for stored in page.get("Contents", [])]
    assert {"MLmodel", "detector.safetensors", "metrics.json", "gate.json"} <= {Path(key).name for key in keys}
    connection = psycopg2.connect(postgres.url("mlflow"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT version FROM model_versions WHERE name = %s", (name,))
        assert cursor.fetchall() == [(1,)]
    connection.close()


def test_gate_promote_and_rollback(shared: Any) -> None:
    name = shared.params.register_.model_name
    assert register(shared.params, shared.train(mean=0.5)).decision.promoted
    assert register(shared.params, shared.train(weight=2, mean=0.95, data="data-2")).decision.promoted
    assert not register(shared.params, shared.train(weight=3, mean=0.5, data="data-3")).decision.promoted
    assert [row.aliases for row in list_versions(shared.params)] == [["challenger"], ["champion"], []]
    assert promote(shared.params, "3").startswith(f"{name} version 3 is @champion in place of version 2")
    assert rollback(shared.params) == f"{name} version 2 is @champion again, version 3 no more"
    assert rollback(shared.params) == f"{name} version 1 is @champion again, version 2 no more"
    with store.connect() as client:
        tags = client.get_registered_model(name).tags
    assert tags == {promotion.HISTORY: "[1]"}  # and no claim is left


def test_of_two_promotions_at_once_one_is_made(shared: Any, tmp_path: Path) -> None:
    """Two projects promote only if the champion is still the one they compared with, as the gate does, thrice."""
    name, rounds = shared.params.register_.model_name, 3
    with store.connect() as client:
        client.create_registered_model(name)
        for _ in range(1 + 2 * rounds):
            client.create_model_version(name, "s3://nowhere/model")
        promotion.move(client, name, 1, "gate")
    fork = multiprocessing.get_context("fork")
    queue, together = fork.Queue(), fork.Barrier(2)
    challengers = (range(2, 2 + rounds), range(2 + rounds, 2 + 2 * rounds))
    processes = [
        fork.Process(
            target=replace_champions, args=(name, numbers, tmp_path / f"project {numbers[0]}", together, queue)
        )
        for numbers in challengers
    ]
    for process in processes:
        process.start()
    outcomes = [queue.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(timeout=30)
    winners = [list(filter(None, pair)) for pair in zip(*outcomes, strict=True)]
    assert [len(pair) for pair in winners] == [1] * rounds
    with store.connect() as client:
        tags = client.get_registered_model(name).tags
        assert promotion.aliases_of_model(client, name)["champion"] == winners[-1][0]
    assert json.loads(tags[promotion.HISTORY]) == [1, *(number for (number,) in winners)]
    assert set(tags) == {promotion.HISTORY}


def replace_champions(name: str, numbers: Sequence[int], folder: Path, together: Any, queue: Any) -> None:
    """Promote one version after the other from a project of its own, each unless somebody else was faster."""
    folder.mkdir()
    os.chdir(folder)
    promoted = []
    with store.connect() as client:
        for number in numbers:
            together.wait(timeout=200)
            compared_with = promotion.aliases_of_model(client, name)["champion"]
            together.wait(timeout=200)
            with promotion.alone(), promotion.claim(client, name):
                is_first = promotion.aliases_of_model(client, name)["champion"] == compared_with
                if is_first:
                    promotion.move(client, name, number, "gate")
            promoted.append(number if is_first else None)
    queue.put(promoted)


def test_names_of_the_server(mlflow_url: str) -> None:
    """The worker of compose.yaml calls it `mlflow:5000`; a name that is not in the file is refused."""
    statuses = {}
    for host in ("localhost:5000", "mlflow:5000", "elsewhere:5000"):
        request = urllib.request.Request(
            f"{mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": host}
        )
        try:
            statuses[host] = urllib.request.urlopen(request, timeout=20).status
        except urllib.error.HTTPError as error:
            statuses[host] = error.code
    assert statuses == {"localhost:5000": 200, "mlflow:5000": 200, "elsewhere:5000": 403}
