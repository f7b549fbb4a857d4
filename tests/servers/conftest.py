"""The servers that mlflow/servers.env.example describes, on free ports: PostgreSQL, an S3 store, MLflow, Prefect."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from flows.command import end_tree
from tests.flows.conftest import toy, toy_template
from tests.ports import free_port
from tests.tracking.conftest import migrated_database, project

__all__ = ["migrated_database", "project", "toy", "toy_template"]

REPOSITORY = Path(__file__).parents[2]
USER, PASSWORD = "harmoniad", "secret1"
BUCKETS = ("mlflow", "dvc")


@contextlib.contextmanager
def running(
    command: list[str],
    log: Path,
    answers: Callable[[], object],
    ends: Callable[[int], object] = end_tree,
    **options: object,
) -> Iterator[None]:
    """A server for as long as the block runs; it must answer within four minutes, on a busy machine, too."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + 240
        while not answers():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        ends(process.pid)
        process.wait(timeout=30)


def http_answers(address: str) -> Callable[[], bool]:
    def answers() -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(address, timeout=5).close()
            return True
        return False

    return answers


def environment(**changes: str) -> dict[str, str]:
    """What the file for real servers sets, with the addresses of these."""
    template = {name: value or "" for name, value in dotenv_values(REPOSITORY / "mlflow/servers.env.example").items()}
    assert changes.keys() <= template.keys(), "the file names a variable otherwise"
    return {**os.environ, **template, **changes}


def postgres_folder() -> Path | None:
    """Where PostgreSQL's programs are; Debian does not put them on the path."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next(
        (place for place in reversed(places) if all((place / name).exists() for name in ("initdb", "postgres"))), None
    )


@dataclass(frozen=True)
class Postgres:
    port: int

    def url(self, database: str, driver: str = "postgresql") -> str:
        return f"{driver}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of its own, which asks for a password, with the databases `mlflow` and `prefect`."""
    programs = postgres_folder()
    if programs is None:
        pytest.skip(
            "PostgreSQL's server is not installed: no initdb and postgres on the path or in /usr/lib/postgresql"
        )
    import psycopg2

    owner = {}
    with tempfile.TemporaryDirectory(prefix="harmoniad-postgres-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            owner = unprivileged()
            for path in (folder, folder / "password"):
                os.chown(path, owner["user"], owner["group"])
        data = folder / "data"
        command = [programs / "initdb", "--pgdata", data, "--username", USER, "--pwfile", folder / "password"]
        options = ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync"]
        made = subprocess.run(
            [*command, *options], cwd=folder, capture_output=True, encoding="utf-8", timeout=120, check=False, **owner
        )  # type: ignore[call-overload]
        assert made.returncode == 0, made.stderr
        server = Postgres(free_port())

        def answers() -> bool:
            with contextlib.suppress(psycopg2.OperationalError):
                psycopg2.connect(server.url("postgres"), connect_timeout=5).close()
                return True
            return False

        settings = {"listen_addresses": "127.0.0.1", "port": server.port, "unix_socket_directories": "", "fsync": "off"}
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        start = [str(programs / "postgres"), "-D", str(data), *arguments]
        with running(start, folder / "log", answers, cwd=folder, **owner):
            connection = psycopg2.connect(server.url("postgres"))
            connection.autocommit = True
            for database in ("mlflow", "prefect"):
                connection.cursor().execute(f"CREATE DATABASE {database}")
            connection.close()
            yield server


def unprivileged() -> dict[str, int]:
    """The user `postgres`, or another one without rights, as options of `subprocess`."""
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid}
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


@pytest.fixture(scope="session")
def s3_keys() -> dict[str, str]:
    """The variables from which DVC and MLflow's server take key and secret."""
    variables = environment()
    return {name: variables[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")}


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory, s3_keys: dict[str, str]) -> Iterator[Any]:
    """A client of an S3 store with the buckets; it keeps them in memory."""
    import boto3

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, tmp_path_factory.mktemp("s3") / "log", http_answers(f"{address}/moto-api/")):
        options = {name.lower(): value for name, value in s3_keys.items() if name != "AWS_DEFAULT_REGION"}
        client = boto3.client("s3", endpoint_url=address, region_name=s3_keys["AWS_DEFAULT_REGION"], **options)
        for bucket in BUCKETS:
            client.create_bucket(Bucket=bucket)
        yield client


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, s3: Any) -> Iterator[str]:
    """MLflow's server as the file for real servers configures it."""
    port = free_port()
    variables = environment(
        MLFLOW_BACKEND_STORE_URI=postgres.url("mlflow"),
        MLFLOW_S3_ENDPOINT_URL=s3.meta.endpoint_url,
        MLFLOW_PORT=str(port),
    )
    folder, url = tmp_path_factory.mktemp("mlflow-server"), f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server"]
    with running(command, folder / "log", http_answers(f"{url}/health"), cwd=folder, env=variables):
        yield url


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[str]:
    """The API of Prefect's server as the file for real servers configures it."""
    port = free_port()
    folder, url = tmp_path_factory.mktemp("prefect-server"), f"http://127.0.0.1:{port}/api"
    variables = environment(
        PREFECT_SERVER_DATABASE_CONNECTION_URL=postgres.url("prefect", "postgresql+asyncpg"),
        PREFECT_SERVER_API_PORT=str(port),
    )
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui"]
    options = {"cwd": folder, "env": variables | {"PREFECT_HOME": str(folder)}}
    with running(command, folder / "log", http_answers(f"{url}/health"), **options):
        yield url
