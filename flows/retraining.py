"""The whole pipeline as one run: new images, validation, training, evaluation, registration."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeVar

import httpx
from filelock import FileLock, Timeout
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException, TerminationSignal
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.evaluation import evaluation
from flows.ingestion import keep_results, take_in
from flows.notification import tell
from flows.registration import REGISTERED, registration
from flows.stages import Limits
from flows.training import training
from flows.validation import validation
from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.factory.story import Story
from harmoniad.files import read_json, write_json

Result = TypeVar("Result")

LOCK = STATE_DIR / "retrain.lock"
HOLDER = STATE_DIR / "retrain.json"


@flow
def retraining(limits: Limits | None = None) -> State | None:
    """Take in new images and run the whole pipeline; what has not changed since the last run is skipped by DVC.

    Where the new images are so unlike those before that a person should look, it ends before anything is trained.
    However it ends, whom `notify` in `params.yaml` names is told.

    Args:
        limits: After how many minutes a stage is ended.

    Raises:
        HarmoniadError: Another retraining is running, or a stage said what is wrong.
    """
    story = Story()
    try:
        with alone():
            end = _retrain(story, limits)
    except Exception as error:
        tell(story, error)
        raise
    tell(story)
    return end


def _retrain(story: Story, limits: Limits | None) -> State | None:
    end = take_in(story, limits)
    if end is not None:
        story.ended = str(end.name)
        get_run_logger().warning(end.message)
        return end
    # This run's heartbeat says that the process lives; that of each part would cost a second more, to end its thread.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        validation(limits)
        training(limits)
        evaluation(limits)
        registration(limits)
    story.registered = read_json(REGISTERED)
    keep_results(story, limits)
    return None


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the lock that lets one retraining run at a time; the system frees it when the process dies.

    Raises:
        HarmoniadError: Another process holds it.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(LOCK, timeout=0):
            write_json(HOLDER, {"process": os.getpid(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"})
            yield
    except Timeout as error:
        holder = read_json(HOLDER)
        raise HarmoniadError(
            f"another retraining is running (process {holder['process']}, since {holder['since']})."
            " Wait until it has ended, or end it."
        ) from error


def retrain() -> None:
    """Run `retraining` on the configured Prefect server, or on a temporary one.

    Raises:
        HarmoniadError: A stage failed, another retraining is running, or the server does not answer.
    """
    with alone():
        pass  # a second run should not wait for a server to be told that it may not run
    on_a_server(retraining, "the retraining")


def on_a_server(run: Callable[[], Result], name: str) -> Result:
    """Run a flow on the configured Prefect server, or on a temporary one.

    Args:
        run: Calls the flow.
        name: What an error message calls it.

    Raises:
        HarmoniadError: The flow failed or was terminated, or the server does not answer.
    """
    _hide_tracebacks()
    try:
        _connect()
        return run()
    except TerminationSignal as error:
        raise HarmoniadError(f"{name} was terminated. What had finished is kept: run it again.") from error
    except (RuntimeError, TimeoutError, PrefectException, httpx.HTTPError) as error:
        if "ephemeral" in str(error):
            raise HarmoniadError(
                f"{name}: Prefect's temporary server did not start in time; the machine is too busy. Run it again."
            ) from error
        raise HarmoniadError(str(error)) from error


def _connect() -> None:
    """See that the configured server answers, or start the temporary one."""
    with _children_do_not_hear_ctrl_c(), get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
    if problem is not None:
        raise HarmoniadError(
            f"no Prefect server answers at {PREFECT_API_URL.value()} ({problem})."
            " Start it (`prefect server start`), or unset PREFECT_API_URL: then a temporary one is used."
        )


@contextlib.contextmanager
def _children_do_not_hear_ctrl_c() -> Iterator[None]:
    """Let a temporary server outlive a run that is interrupted: without it, Prefect tries to report for minutes."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hide_tracebacks() -> None:
    """Keep tracebacks out of the terminal; the server's logs of the run have them."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: not record.exc_info)
