"""A Prefect task for each DVC stage; `dvc repro` decides whether there is anything to run."""

import shlex
import sys
from typing import Any, Literal

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed
from pydantic import PositiveFloat

from flows.command import run_command
from harmoniad.errors import TRY_AGAIN, HarmoniadError

StageName = Literal[
    "ingest",
    "drift",
    "version",
    "sample",
    "data",
    "prepare",
    "validate",
    "encode",
    "train",
    "evaluate",
    "register",
    "results",
]
Limits = dict[StageName, PositiveFloat]
"""After how many minutes a stage is ended; a stage that is not named keeps its limit of `LIMITS`."""

LIMITS: Limits = {
    "ingest": 120,
    "drift": 120,
    "version": 120,
    "sample": 60,
    "data": 120,
    "prepare": 120,
    "validate": 120,
    "encode": 720,
    "train": 1440,
    "evaluate": 720,
    "register": 60,
    "results": 120,
}

_UP_TO_DATE = "Data and pipelines are up to date."


class StageFailedError(HarmoniadError):
    """A stage or DVC said what is wrong.

    Args:
        stage: Which one.
        reason: What it said.
        may_pass: Whether it may be otherwise in a minute, such as a server that does not answer.
    """

    def __init__(self, stage: str, reason: str, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.stage, self.may_pass = stage, may_pass


class StageCrashedError(RuntimeError):
    """A stage died without a word of its own: out of memory, killed, a defect, a busy repository."""


def reproduce(stage: StageName, limits: Limits | None = None, targets: list[str] | None = None) -> None:
    """Bring one DVC stage up to date, and nothing before or after it.

    Args:
        stage: The stage's name in `dvc.yaml`, or a name for `targets`.
        limits: See `Limits`.
        targets: What DVC is given instead of the stage's name, such as `data/mine.dvc`.

    Raises:
        StageFailedError: The stage or DVC said what is wrong; three times, if it is something that may pass.
        StageCrashedError: The stage died, three times.
        TimeoutError: The stage ran longer than its limit.
    """
    minutes = (limits or {}).get(stage, LIMITS[stage])
    run_stage(stage, ["dvc", "repro", "--single-item", *(targets or [stage])], minutes)


def _is_worth_another_try(_task: Task[..., Any], _run: TaskRun, state: State) -> bool:
    """What was wrong with the input stays wrong; a crash may not happen again, and a server may be back."""
    error = state.data
    return isinstance(error, StageCrashedError) or (isinstance(error, StageFailedError) and error.may_pass)


@task(
    name="stage",
    task_run_name="{stage}",
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=_is_worth_another_try,
    cache_policy=NO_CACHE,  # DVC is the cache
)
def run_stage(stage: StageName, command: list[str], minutes: float) -> list[str] | State | None:
    """Run a Python module's command for a stage, with its output in the run's log.

    Returns:
        The lines of its output; a state without them where there was nothing to run.
    """
    logger = get_run_logger()
    try:
        code, lines = run_command([sys.executable, "-m", *command], minutes * 60, logger.info)
    except TimeoutError as error:
        raise TimeoutError(
            f"the stage `{stage}` ran longer than its limit of {minutes:g} minutes and was ended."
            " Raise it in `limits` of the flow's parameters (prefect.yaml)."
        ) from error
    if code != 0:
        raise failure(stage, command, code, lines)
    if _UP_TO_DATE in lines:
        return Completed(name="Unchanged", message="nothing to run")
    return lines


def failure(stage: StageName, command: list[str], code: int, lines: list[str]) -> Exception:
    """Tell what is final (the stage or DVC say what is wrong) from what may not happen again."""
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if said:
        codes = [str(code), *(line.rpartition("exited with ")[2] for line in lines if line.startswith("ERROR: "))]
        return StageFailedError(stage, said[-1], may_pass=str(TRY_AGAIN) in codes)
    by_dvc = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if by_dvc and "failed to run" not in by_dvc[-1] and "lock" not in by_dvc[-1]:
        return StageFailedError(stage, by_dvc[-1])
    last_words = [line for line in lines if not line.startswith("ERROR: ")][-1:]
    reason = by_dvc[-1:] or [f"`{shlex.join(command)}` exited with {code}"]
    return StageCrashedError(f"the stage `{stage}` crashed: {' | '.join(last_words + reason)}")
