import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.tracking import store
from harmoniad.tracking.registry import register
from harmoniad.tracking.versions import list_versions


def test_local_store_is_the_default(project: Any) -> None:
    assert store.is_local()
    assert store.tracking_uri() == f"sqlite:///{project.root.as_posix()}/mlflow/store/mlflow.db"


@pytest.mark.parametrize("absolute", [True, False])
def test_address_of_the_local_store_is_recognised(
    project: Any, absolute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.DATABASE.absolute() if absolute else store.DATABASE
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path.as_posix()}")
    assert store.is_local()
    register(project.params, project.train())
    assert (project.root / "mlflow/store/artifacts/models").is_dir()


@pytest.mark.parametrize("uri", ["sqlite:///other.db", "http://localhost:5000", "postgresql://a:b@host/db"])
def test_other_stores_are_not_local(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert not store.is_local()
    assert store.tracking_uri() == uri


def test_environment_is_left_as_it_was(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.connect():
        assert os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite:")
    assert "MLFLOW_TRACKING_URI" not in os.environ
    shutil.copyfile(store.DATABASE, "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    with pytest.raises(HarmoniadError), store.connect() as client:
        client.get_model_version("harmoniad", "1")
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///other.db"


def test_other_errors_of_mlflow_are_one_line(project: Any) -> None:
    with pytest.raises(HarmoniadError, match=r"^MLflow: .*harmoniad.*not found$"), store.connect() as client:
        client.get_model_version("harmoniad", "1")


def test_ui_command_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://plant:5000")
    assert store.ui_command() == 'python -m webbrowser "http://plant:5000"'


@pytest.mark.skipif(os.name == "nt", reason="another way to write a variable")
def test_ui_command_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:secret@host/db")
    assert store.ui_command() == 'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI" --workers 1 --port 5000'


def test_ui_command_opens_this_store(project: Any) -> None:
    """The options are MLflow's own, and the relative address leads to the store."""
    program, command, *options = shlex.split(store.ui_command())
    assert (program, command) == ("mlflow", "ui")
    from click.testing import CliRunner
    from mlflow.cli import cli

    assert CliRunner().invoke(cli, ["ui", "--help"]).exit_code == 0
    known = CliRunner().invoke(cli, ["ui", "--help"]).output
    assert all(option in known for option in options if option.startswith("--"))
    address = options[options.index("--backend-store-uri") + 1]
    assert Path(address.removeprefix("sqlite:///")).samefile(project.root / store.DATABASE)


def test_moved_project_finds_its_artifacts(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    register(project.params, project.train())
    old, moved = project.root, project.root.with_name("moved & renamed 100%")
    project.root = old.rename(moved)
    monkeypatch.chdir(moved)
    assert not register(project.params, project.train()).is_new
    with store.connect() as client:
        files = {file.path for file in mlflow.artifacts.list_artifacts("models:/harmoniad@champion")}
        run_id = client.get_model_version("harmoniad", "1").run_id
        report = Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="report/index.html"))
    assert "MLmodel" in files
    assert report.read_text().startswith("<p>report</p>")
    assert register(project.params, project.train(weight=2, data="data-2")).version == 2
    assert not old.exists()


def test_unreachable_server_is_told_at_once(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    results = project.train()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody else gets it, and nobody listens
        port = unused.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
        start = time.monotonic()
        with pytest.raises(HarmoniadError) as told:
            register(project.params, results)
        assert time.monotonic() - start < 20
    assert str(told.value) == (
        f"MLFLOW_TRACKING_URI: http://127.0.0.1:{port} does not answer. Start the server, mend the address, or unset "
        "the variable to keep runs and models in mlflow/store."
    )


def test_silent_server_is_told_after_the_allowance(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SECONDS_TO_ANSWER", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(HarmoniadError, match="does not answer"):
            list_versions(project.params)


def test_nonsense_address(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://plant:port")
    with pytest.raises(HarmoniadError, match="http://plant:port does not answer"):
        list_versions(project.params)


def test_unknown_kind_of_store(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://plant")
    with pytest.raises(HarmoniadError, match="MLflow: "):
        list_versions(project.params)


def test_damaged_database(project: Any) -> None:
    store.DATABASE.write_bytes(b"not a database" * 100)
    with pytest.raises(HarmoniadError, match=r"^mlflow/store/mlflow.db: is damaged. Restore it from a backup, or move"):
        register(project.params, project.train())


def test_database_of_another_mlflow(project: Any) -> None:
    with sqlite3.connect(store.DATABASE) as database:
        database.execute("UPDATE alembic_version SET version_num = '0a8213491aaa'")
    with pytest.raises(
        HarmoniadError, match=r'mlflow.db: was made by another .*: mlflow db upgrade "sqlite:///mlflow/st'
    ):
        list_versions(project.params)


def test_locked_database(project: Any) -> None:
    """MLflow waits 20 s for another program's lock, so the message is tried on the error that SQLite raises."""
    holder = sqlite3.connect(store.DATABASE)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with (
            pytest.raises(HarmoniadError, match=r"mlflow.db: another program holds it. Close that program"),
            store._one_line_errors(),
        ):
            sqlite3.connect(store.DATABASE, timeout=0.1).execute("SELECT * FROM runs")
    finally:
        holder.close()


def test_full_disk_for_the_database(project: Any) -> None:
    database = sqlite3.connect(store.DATABASE)
    database.execute("PRAGMA max_page_count = 1")  # SQLite's own way to run out of room
    with pytest.raises(HarmoniadError, match=r"mlflow.db: the disk is full. Free some space"), store._one_line_errors():
        database.execute("CREATE TABLE large AS SELECT zeroblob(10000000)")
    database.close()


def test_database_that_cannot_be_written(project: Any) -> None:
    database = sqlite3.connect(f"{store.DATABASE.absolute().as_uri()}?mode=ro", uri=True)
    with (
        pytest.raises(HarmoniadError, match=r"mlflow.db: cannot be written. Mend the rights"),
        store._one_line_errors(),
    ):
        database.execute("DELETE FROM runs")
    database.close()


def test_database_that_cannot_be_opened(project: Any) -> None:
    with pytest.raises(HarmoniadError, match=r"mlflow.db: cannot be opened. Mend the rights"), store._one_line_errors():
        sqlite3.connect("no/such/folder.db")


def test_file_without_rights(project: Any) -> None:
    with (
        pytest.raises(HarmoniadError, match=r"^mlflow/store: cannot be written. Mend its rights.$"),
        store._one_line_errors(),
    ):
        raise PermissionError(13, "Permission denied", "mlflow/store")


def test_folder_mlflow_is_not_a_package() -> None:
    """With an `__init__.py`, the folder `mlflow/` in the root would hide the library."""
    root = Path(__file__).parents[2]
    assert (root / "mlflow/README.md").is_file()
    assert not (root / "mlflow/__init__.py").exists()
    code = "import importlib.util; print(importlib.util.find_spec('mlflow').origin)"  # what `import mlflow` would load
    command = [sys.executable, "-c", code]  # -c puts the current folder in front
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=True)
    import mlflow

    assert Path(done.stdout.strip()) == Path(mlflow.__file__)
    assert mlflow.__version__.startswith("3.")
