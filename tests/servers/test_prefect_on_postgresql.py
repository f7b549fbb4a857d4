"""A flow at a Prefect server whose database is PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.training import training

# One set of servers for all; on a busy machine they take minutes to start.
pytestmark = [pytest.mark.xdist_group("servers"), pytest.mark.timeout(900)]


@pytest.fixture
def server(prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        yield prefect_url


def test_flow_runs_its_stages_and_is_recorded_in_postgresql(toy: Any, server: str, postgres: Any) -> None:
    state = training(return_state=True)
    assert state.is_completed()
    assert toy.calls() == ["encode", "train"]
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(state.state_details.flow_run_id).state_name == "Completed"
    # Not the task runs: a process sends those to the server that it met first, which may be another test's.
    connection = psycopg2.connect(postgres.url("prefect"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT state_name FROM flow_run WHERE id = %s", (str(state.state_details.flow_run_id),))
        assert cursor.fetchall() == [("Completed",)]
    connection.close()
