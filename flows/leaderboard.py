"""All detectors on all data sets with all seeds: a Prefect task an entry, as many at once as there are cores."""

import itertools
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.command import run_command
from flows.retraining import on_a_server
from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json, write_json
from harmoniad.leaderboard.entries import KEPT, DataSet, Entry
from harmoniad.params import Params
from harmoniad.progress import Progress
from harmoniad.tracking.leaderboard import log_entry

MINUTES = 120  # that one entry may take
CHECKPOINTS = KEPT / "checkpoints"


class EntryCrashedError(RuntimeError):
    """The process of an entry died without a word of its own."""


@task(name="encode", task_run_name="encode {data_set.name}", cache_policy=NO_CACHE)
def encode(data_set: DataSet, params: Params) -> None:
    """Bring the features of all images into the cache, so that no detector's time is the encoder's."""
    answer = _in_a_process("encode", data_set, params, threads=0)
    if "error" in answer:
        raise HarmoniadError(answer["error"])


@task(name="entry", task_run_name="{entry.label}", retries=1, retry_delay_seconds=5, cache_policy=NO_CACHE)
def measure(entry: Entry, threads: int) -> dict[str, Any]:
    """Measure an entry unless it was measured before, and log it to MLflow.

    Returns:
        See `harmoniad.leaderboard.measure.measure`; `error` where the detector says why it cannot be measured here.
    """
    if entry.file.is_file():
        measured: dict[str, Any] = read_json(entry.file)
    else:
        measured = _in_a_process("measure", entry.data_set, entry.params, threads)
        if "error" not in measured:
            write_json(entry.file, measured)
    if "error" not in measured:
        log_entry(entry, measured)
    return measured


@flow(name="leaderboard", validate_parameters=False)  # a table is no pydantic type
def compare(entries: Sequence[Entry], threads: int) -> list[dict[str, Any]]:
    """Measure all entries; one that fails does not stop the others.

    Args:
        entries: Those that are there already cost nothing.
        threads: Of one entry.

    Returns:
        What `measure` gave for each entry, in the same order; a crash is an `error` too.
    """
    is_new = [not entry.file.is_file() for entry in entries]
    for entry in {entry.data_set.name: entry for entry in itertools.compress(entries, is_new)}.values():
        encode(entry.data_set, entry.params)
    futures = measure.map(list(entries), threads)
    with Progress("leaderboard", len(entries), "entries", done=len(entries) - sum(is_new)) as progress:
        for _ in as_completed(list(itertools.compress(futures, is_new))):
            progress.advance()
    return [_result(future, entry) for future, entry in zip(futures, entries, strict=True)]


def run(entries: Sequence[Entry], workers: int) -> list[dict[str, Any]]:
    """Run the flow on the configured Prefect server, or on a temporary one.

    Args:
        entries: What is measured.
        workers: How many at once; the cores are shared out among them.

    Raises:
        HarmoniadError: The server does not answer, or an image cannot be encoded.
    """
    threads = max(1, _cores() // workers)
    task_runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=workers)
    flow_of_workers = compare.with_options(task_runner=task_runner)  # type: ignore[arg-type]
    found: list[dict[str, Any]] = on_a_server(lambda: flow_of_workers(entries, threads), "the leaderboard")
    return found


def _result(future: PrefectFuture[dict[str, Any]], entry: Entry) -> dict[str, Any]:
    result = future.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        get_run_logger().error("%s: %s", entry.label, result)
        return {"error": str(result), "crashed": True}
    return result


def _in_a_process(job: str, data_set: DataSet, params: Params, threads: int) -> dict[str, Any]:
    """Have `harmoniad.leaderboard.measure` do a job in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="harmoniad-entry-") as folder:
        manifest, file, answer = (Path(folder) / name for name in ("manifest.csv", "job.json", "answer.json"))
        data_set.manifest.to_csv(manifest, index=False)
        content = {
            "task": job,
            "manifest": str(manifest),
            "params": params.model_dump(mode="json", by_alias=True),
            "threads": threads,
            "checkpoints": str(CHECKPOINTS),
            "answer": str(answer),
        }
        write_json(file, content)
        command = [sys.executable, "-m", "harmoniad.leaderboard.measure", str(file)]
        logger = get_run_logger()
        # Encoding is alone and long; of entries side by side the bar over all of them says more.
        code, lines = run_command(command, MINUTES * 60, logger.info if job == "encode" else logger.debug)
        if code or not answer.is_file():
            last = f": {lines[-1]}" if lines else ""
            raise EntryCrashedError(f"its process ended with code {code}{last}; was the memory used up?")
        found: dict[str, Any] = read_json(answer)
        return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
