"""Registering at a real MLflow server, as MLFLOW_TRACKING_URI asks for."""

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harmoniad.tracking import store
from harmoniad.tracking.registry import register
from harmoniad.tracking.versions import list_versions
from tests.ports import free_port


@pytest.fixture
def server(tmp_path: Path, migrated_database: Path) -> Iterator[str]:
    """The address of a server with its own database and artifacts."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copyfile(migrated_database, folder / "server.db")
    port = free_port()
    options = ["--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "artifacts", "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *options, "--port", str(port)]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(address)


def test_server_instead_of_the_local_store(project: Any, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    shutil.rmtree(store.STORE_DIR)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    with store.connect() as client:  # what a killed registration leaves behind, here and on another machine
        from harmoniad.tracking.run import workplace

        experiment = store.experiment(client, "harmoniad")
        client.create_run(experiment, tags={"registration_key": "a", "workplace": workplace()}, run_name="dead")
        client.create_run(experiment, tags={"registration_key": "a", "workplace": "elsewhere"}, run_name="elsewhere")

    scores = {"Kabel ü 100%": 0.9}
    assert register(project.params, project.train(categories=scores)).aliases == ["challenger", "champion"]
    assert not register(project.params, project.train(categories=scores)).is_new
    worse = project.train(weight=2, categories={"Kabel ü 100%": 0.5}, data="data-2")
    assert not register(project.params, worse).decision.promoted

    assert [row.aliases for row in list_versions(project.params)] == [["challenger"], ["champion"]]
    assert not store.STORE_DIR.exists()
    with store.connect() as client:
        assert len(client.search_runs([experiment])) == 3
        assert len(client.search_runs([experiment], "attributes.run_name = 'dead'")) == 0
        files = {file.path for file in mlflow.artifacts.list_artifacts("models:/harmoniad@champion")}
        run_id = client.get_model_version("harmoniad", "1").run_id
        heatmaps = client.list_artifacts(run_id, "heatmaps/Kabel ü 100%")
    assert "MLmodel" in files
    assert len(heatmaps) == 2
