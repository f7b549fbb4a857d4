"""compose.yaml, the file of variables and what the README says of them agree with one another."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from packaging.version import Version
from sqlalchemy.engine import make_url

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "mlflow/servers.env.example"
VARIABLE = re.compile(r"\$\{(\w+)")
LOCAL = {
    "MLFLOW_HOST",
    "PREFECT_SERVER_API_HOST",
}  # in a container, a server listens on all of the container's addresses


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))["services"])


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    return {name: value or "" for name, value in dotenv_values(EXAMPLE).items()}


def test_every_variable_is_explained_and_there(services: dict[str, Any], example: dict[str, str]) -> None:
    text = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    assert set(VARIABLE.findall(text)) - {"HARMONIAD_USER"} <= example.keys()
    assert "mlflow/servers.env" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_servers_get_what_the_file_says(services: dict[str, Any], example: dict[str, str]) -> None:
    """The same variables with the same values, but for the names of the machines."""
    given = services["mlflow"]["environment"] | services["prefect"]["environment"]
    for name, value in example.items():
        if name == "POSTGRES_PASSWORD":
            continue
        inside = re.sub(r"\$\{(\w+)(?::-([^}]*))?[^}]*\}", lambda found: example[found[1]], str(given[name]))
        for host in ("postgres", "s3"):
            inside = re.sub(rf"(//|@){host}:", r"\g<1>127.0.0.1:", inside)
        assert inside == ("0.0.0.0" if name in LOCAL else value), name
    names = services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].partition(":-")[2].removesuffix("}")
    assert names == example["MLFLOW_SERVER_ALLOWED_HOSTS"]


def test_only_this_machine_can_call(services: dict[str, Any]) -> None:
    ports = {port for service in services.values() for port in service.get("ports", [])}
    assert ports == {f"127.0.0.1:{port}:{port}" for port in (5432, 8333, 5000, 4200)}


def test_each_server_is_watched_and_pinned(services: dict[str, Any]) -> None:
    assert services.keys() == {"postgres", "s3", "buckets", "mlflow", "prefect", "worker"}
    assert all("healthcheck" in services[name] for name in ("postgres", "s3", "mlflow", "prefect"))
    assert all(re.fullmatch(r"[\w/-]+:\d[\d.]*", service["image"]) for service in services.values())
    for service in services.values():
        for needed, condition in service.get("depends_on", {}).items():
            assert needed in services
            assert condition["condition"] != "service_healthy" or "healthcheck" in services[needed]


def test_image_holds_the_versions_of_the_constraints() -> None:
    dockerfile = (REPOSITORY / "mlflow/Dockerfile").read_text(encoding="utf-8")
    assert '--constraint constraints.txt --editable ".[servers]"' in dockerfile
    for copied in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        assert all((REPOSITORY / name).exists() for name in copied.split())
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    versions = {name.lower(): Version(version) for name, version in pinned.items()}
    assert versions["fastapi"] < Version("0.151")
    assert versions["sqlalchemy"] < Version("2.1")
    assert {"psycopg2-binary", "asyncpg", "boto3", "dvc-s3"} <= versions.keys()
    assert versions["boto3"] == versions["botocore"]


def test_databases_and_buckets_are_those_that_are_made(services: dict[str, Any], example: dict[str, str]) -> None:
    made = re.findall(r"CREATE DATABASE (\w+);", (REPOSITORY / "mlflow/postgres.sql").read_text(encoding="utf-8"))
    addresses = [example["MLFLOW_BACKEND_STORE_URI"], example["PREFECT_SERVER_DATABASE_CONNECTION_URL"]]
    assert [make_url(address).database for address in addresses] == made
    assert {make_url(address).username for address in addresses} == {
        services["postgres"]["environment"]["POSTGRES_USER"]
    }
    assert {make_url(address).password for address in addresses} == {example["POSTGRES_PASSWORD"]}
    script = services["buckets"]["command"][2]
    compile(script, "compose.yaml", "exec")
    assert f'"{example["MLFLOW_ARTIFACTS_DESTINATION"].removeprefix("s3://")}"' in script


def test_no_password_is_committed(example: dict[str, str]) -> None:
    assert "/mlflow/servers.env" in (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()
    text = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    assert example["POSTGRES_PASSWORD"] not in text
    assert example["AWS_SECRET_ACCESS_KEY"] not in text


def test_folder_holds_no_python() -> None:
    """Any would hide the library of the same name."""
    assert {path.suffix for path in (REPOSITORY / "mlflow").iterdir()} <= {"", ".md", ".sql", ".env", ".example"}
