"""`harmoniad serve-model` as a process: how it starts, how it does not, and how it stops."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from harmoniad.cli_serve_model import inbox_set, serve_model
from harmoniad.errors import HarmoniadError
from harmoniad.serving.settings import LOOPBACK, Settings
from tests.serving.conftest import png


@pytest.mark.skipif(os.name == "nt", reason="needs SIGTERM")
def test_sigterm_finishes_what_has_been_taken_and_refuses_the_rest(trained: Path, project: Path) -> None:
    command = [sys.executable, "-m", "harmoniad", "serve-model", "--model", str(trained), "--port", "0", "--batch", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().split()[-1]
        assert address.startswith("http://127.0.0.1:"), process.stderr.read()
        assert httpx.get(f"{address}/health", timeout=60).json()["status"] == "ready"
        with ThreadPoolExecutor(12) as pool:
            for _ in range(20):  # until all twelve have been taken before the first one is answered
                sent = [pool.submit(ask, address) for _ in range(12)]
                if all_are_taken(address, sent):
                    break
                assert [answer.result() for answer in sent] == [200] * 12
            process.send_signal(signal.SIGTERM)
            assert [answer.result() for answer in sent] == [200] * 12
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")


def ask(address: str) -> int:
    return httpx.post(f"{address}/predict", files={"image": png(600, 600)}, timeout=120).status_code


def all_are_taken(address: str, sent: list[Future[int]]) -> bool:
    """Whether there is a moment at which the server has all of them in hand."""
    while not any(answer.done() for answer in sent):
        if f"harmoniad_queue_length {len(sent)}.0" in httpx.get(f"{address}/metrics", timeout=60).text:
            return True
    return False


def call(*arguments: str) -> str:
    """The line that the command ends with."""
    result = CliRunner().invoke(serve_model, arguments)
    assert isinstance(result.exception, HarmoniadError), result.output
    return str(result.exception)


def test_without_a_champion_it_says_so_in_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "mlflow.db: no such file" in call("--port", "0")
    assert "no such file" in call("--model", "no/folder", "--port", "0")


def test_a_port_that_is_taken_and_a_host_that_is_none(project: Path, trained: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}: cannot listen there" in call("--model", str(trained), "--port", port)
    assert "cannot listen there" in call("--model", str(trained), "--host", "no.such.host.invalid")


def test_other_machines_without_a_token_are_worth_a_warning(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    warning = "it asks for no token"
    assert warning in CliRunner().invoke(serve_model, ["--host", "0.0.0.0"]).output
    assert warning not in CliRunner().invoke(serve_model, ["--host", "0.0.0.0"], env={"HARMONIAD_TOKEN": "x"}).output
    assert warning not in CliRunner().invoke(serve_model, []).output


def test_the_options_reach_the_server(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Settings] = []
    monkeypatch.setattr("harmoniad.serving.server.serve", lambda settings, tell: taken.append(settings))
    options = (
        "--max-mb 1.5 --max-megapixels 0.25 --queue 3 --batch 2 --wait-ms 7 --poll-seconds 4 --keep all --keep-mb 5"
    )
    more = ["--allow-host", "line1", "--kind", "bent", "--review-dir", "seen ü", "--keep-images", "9"]
    done = CliRunner().invoke(serve_model, [*options.split(), *more], env={"HARMONIAD_TOKEN": "sesame"})
    assert done.exit_code == 0, done.output
    (found,) = taken
    assert (found.max_bytes, found.max_pixels, found.keep_bytes, found.token) == (
        1_500_000,
        250_000,
        5_000_000,
        "sesame",
    )
    assert (found.queue, found.batch, found.wait_ms, found.poll_seconds) == (3, 2, 7, 4)
    assert (found.keep, found.keep_images, found.review_dir) == ("all", 9, Path("seen ü"))
    assert found.names == ("line1", *LOOPBACK) and found.kinds == ("bent",)
    assert found.host == "127.0.0.1"


def test_decisions_go_where_the_retraining_finds_them(project: Path) -> None:
    assert inbox_set(["sample", "gears"], None) == ("gears", "")
    chosen, hint = inbox_set(["sample"], None)
    assert chosen == "line" and "data.sets" in hint
    Path("data/bolts").mkdir(parents=True)
    assert inbox_set(["sample"], "bolts") == ("bolts", "")
    with pytest.raises(HarmoniadError, match="takes no images"):
        inbox_set(["sample"], "sample")
