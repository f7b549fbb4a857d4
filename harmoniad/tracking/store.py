"""Where MLflow keeps runs and models: the store in `mlflow/store`, or any server in MLFLOW_TRACKING_URI."""

import contextlib
import http.client
import logging
import os
import sqlite3
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from harmoniad.errors import HarmoniadError, UnreachableError
from harmoniad.files import full_disk_is_told, replacing

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE_DIR = Path("mlflow/store")
DATABASE = STORE_DIR / "mlflow.db"
ARTIFACTS = STORE_DIR / "artifacts"
SECONDS_TO_ANSWER = 10

_QUIET = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # the default retries for four minutes
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",  # no connection outlives its work, so the store can be deleted
    "MLFLOW_UV_AUTO_DETECT": "false",
}
# Where MLflow's database holds absolute addresses of artifacts.
_ADDRESSES = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
_LOCAL_PROBLEMS = {
    "file is not a database": "is damaged. Restore it from a backup, or move mlflow/store away and run `dvc repro`, "
    "which registers the model again.",
    "database disk image is malformed": "is damaged. Restore it from a backup, or move mlflow/store away and run "
    "`dvc repro`, which registers the model again.",
    "database is locked": "another program holds it. Close that program and run the same command again.",
    "readonly database": "cannot be written. Mend the rights of the folder mlflow/store.",
    "unable to open database file": "cannot be opened. Mend the rights of the folder mlflow/store.",
    "disk is full": "the disk is full. Free some space and run the same command again: finished work is kept.",
    "out-of-date database schema": "was made by another version of MLflow. Back it up, then run: "
    f'mlflow db upgrade "sqlite:///{DATABASE.as_posix()}"',
}
# Of a server or its database that was there a moment ago.
_PASSING_PROBLEMS = ["Max retries exceeded", "Connection aborted", "Connection refused", "timed out", "too many 5"]


def is_local() -> bool:
    """Whether runs and models are kept in `mlflow/store`, because MLFLOW_TRACKING_URI is not set or points there."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    path = uri.removeprefix("sqlite:///")
    return not uri or (path != uri and Path(path).resolve() == DATABASE.resolve())


def tracking_uri() -> str:
    """The address of the store, absolute if it is the local one."""
    if is_local():
        return f"sqlite:///{DATABASE.absolute().as_posix()}"
    return os.environ["MLFLOW_TRACKING_URI"]


def ui_command() -> str:
    """The one command, given in the project's folder, that opens MLflow's pages on this store."""
    if is_local():
        return f'mlflow ui --backend-store-uri "sqlite:///{DATABASE.as_posix()}" --workers 1 --port 5000'
    uri = os.environ["MLFLOW_TRACKING_URI"]
    if uri.startswith("http"):
        return f'python -m webbrowser "{uri}"'
    variable = "%MLFLOW_TRACKING_URI%" if os.name == "nt" else "$MLFLOW_TRACKING_URI"  # it may hold a password
    return f'mlflow ui --backend-store-uri "{variable}" --workers 1 --port 5000'


@contextlib.contextmanager
def connect() -> Iterator["MlflowClient"]:
    """Open the store, and create the local one if there is none; MLflow's fluent functions use it too.

    Raises:
        HarmoniadError: The server does not answer, or MLflow failed for another reason.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    uri, variable = tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    if uri.startswith("http"):
        _check_that_it_answers(uri)
    with _one_line_errors(), _silence():
        import mlflow

        if is_local():
            _prepare_local_store()
        mlflow.set_tracking_uri(uri)  # sets the environment variable too
        try:
            yield mlflow.MlflowClient()
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
            if variable is not None:
                os.environ["MLFLOW_TRACKING_URI"] = variable


def experiment(client: "MlflowClient", name: str) -> str:
    """The id of an experiment, which is made or brought back if need be."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name, ARTIFACTS.absolute().as_uri() if is_local() else None)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _check_that_it_answers(uri: str) -> None:
    parts = urlsplit(uri)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # without a password
    try:
        urllib.request.urlopen(address, timeout=SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        return  # it answers; MLflow says better what is wrong
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # MLflow has settings for that
        raise UnreachableError(
            f"MLFLOW_TRACKING_URI: {address} does not answer. Start the server, mend the address, or unset the "
            "variable to keep runs and models in mlflow/store."
        ) from error


def _prepare_local_store() -> None:
    """Create the database, or bring its addresses up to date if the project was moved."""
    if DATABASE.is_file():
        with contextlib.closing(sqlite3.connect(DATABASE)) as database:
            if database.execute("SELECT name FROM sqlite_master").fetchone():
                _follow_a_moved_project(database)
                return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # A kill in the middle of the migrations would leave a database that can neither be used nor migrated.
    with replacing(DATABASE) as temporary:
        SqlAlchemyStore(f"sqlite:///{temporary.absolute().as_posix()}", ARTIFACTS.absolute().as_uri())


def _follow_a_moved_project(database: sqlite3.Connection) -> None:
    """MLflow keeps absolute addresses of artifacts, which are wrong after the project's folder was moved."""
    here, tail = ARTIFACTS.absolute().as_uri(), f"/{ARTIFACTS.as_posix()}"
    query = "SELECT artifact_location FROM experiments WHERE artifact_location LIKE ?"
    locations = [location for (location,) in database.execute(query, (f"file:%{tail}%",))]
    for old in {location.rpartition(tail)[0] + tail for location in locations} - {here}:
        for table, column in _ADDRESSES.items():
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?",
                (here, len(old) + 1, len(old) + 1, f"{old}/"),
            )
    database.commit()


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what MLflow and its database raise into one line for the user."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with full_disk_is_told(STORE_DIR):
            yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        reason = str(error).partition("\n")[0]
        for symptom, advice in _LOCAL_PROBLEMS.items():
            if is_local() and symptom in str(error):
                raise HarmoniadError(f"{DATABASE.as_posix()}: {advice}") from error
        passes = not is_local() and any(symptom in str(error) for symptom in _PASSING_PROBLEMS)
        raise (UnreachableError if passes else HarmoniadError)(f"MLflow: {reason}") from error
    except PermissionError as error:
        raise HarmoniadError(f"{error.filename}: cannot be written. Mend its rights.") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep MLflow's log lines and warnings off the terminal."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            logger.setLevel(logging.CRITICAL)
            yield
        finally:
            logger.setLevel(level)
