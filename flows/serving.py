"""Retraining by a schedule or whenever new images are complete, on one machine; and telling a server of new images."""

import asyncio
import contextlib
import contextvars
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import Event, Resource
from prefect.events.clients import get_events_client
from prefect.flows import EntrypointType
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL
from pydantic import ValidationError

from flows.command import SECONDS_TO_END, end_tree
from flows.retraining import retraining
from flows.server import server
from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.factory.watch import InboxWatch

ARRIVED = "harmoniad.images.arrived"
LOCK = STATE_DIR / "serve.lock"
SECONDS_BETWEEN_LOOKS = 10.0


def serve(
    cron: str | None, timezone: str | None, quiet_seconds: float | None, say: Callable[[str], None] = print
) -> None:
    """Retrain until the process is told to stop; a retraining that runs then is ended, and the next one goes on.

    Args:
        cron: When, by the clock; None for no schedule.
        timezone: Of `cron`; that of the machine if it is None.
        quiet_seconds: Retrain when new files in the inbox have not changed for so long; None not to watch it.
        say: Where lines for the user go.

    Raises:
        HarmoniadError: The schedule or the time zone is wrong, this project is served already, or there is no server.
    """
    schedule = schedule_of(cron, timezone) if cron else None
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(LOCK, timeout=0), server() as url:
            say(f"serve: {_when(schedule, quiet_seconds)}. Prefect's pages: {url.removesuffix('/api')}. Ctrl-C stops.")
            runner, name = Runner(name=_project()), _project()
            runner.add_flow(
                retraining,
                name=name,
                schedule=Cron(schedule.cron, timezone=schedule.timezone) if schedule else None,
                concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
            if quiet_seconds is not None:
                _in_background(lambda: watch(quiet_seconds, lambda count: _start_run(name, count, say), say))
            asyncio.run(_run_until_told_to_stop(runner, others=psutil.Process().children()))
    except Timeout as error:
        raise HarmoniadError("another `harmoniad serve` is running in this folder. End it first.") from error
    say("serve: stopped. What had finished is kept: the next retraining goes on where this one was.")


async def _run_until_told_to_stop(runner: Runner, others: list[psutil.Process]) -> None:
    """Run what is due; at Ctrl-C or SIGTERM end the retraining, which ends its stage and tells the server, and return.

    The runner's own way out waits for its runs, or exits in the middle of whatever its loop is doing.
    """
    loop, work = asyncio.get_running_loop(), asyncio.create_task(runner.start())
    ending: list[asyncio.Task[None]] = []

    async def end() -> None:
        await asyncio.to_thread(_end_children, others)
        work.cancel()

    def stop(*_: object) -> None:
        if not ending:
            loop.call_soon_threadsafe(lambda: ending.append(loop.create_task(end())))

    runner.handle_sigterm = stop  # type: ignore[method-assign]  # it will be installed by the runner
    signal.signal(signal.SIGINT, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await work


def _end_children(others: list[psutil.Process]) -> None:
    for child in psutil.Process().children():
        if child not in others:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
                with contextlib.suppress(psutil.TimeoutExpired):
                    child.wait(2 * SECONDS_TO_END)
    for child in psutil.Process().children():
        if child not in others:
            end_tree(child.pid)


def schedule_of(cron: str, timezone: str | None) -> CronSchedule:
    """Check a schedule.

    Raises:
        HarmoniadError: `cron` is no cron expression, or there is no such time zone.
    """
    from tzlocal import get_localzone_name

    try:
        return CronSchedule(cron=cron, timezone=timezone or get_localzone_name())
    except ValidationError as error:
        raise HarmoniadError(f"{error.errors()[0]['msg'].removeprefix('Value error, ')}.") from error


def watch(quiet_seconds: float, on_new: Callable[[int], None], say: Callable[[str], None]) -> None:
    """Call `on_new` with the number of new files each time that the inbox has come to rest; for ever."""
    inbox = InboxWatch(quiet_seconds)
    while True:
        count = inbox.look()
        if count:
            try:
                on_new(count)
            except Exception as error:  # a server that is away must not end the watch
                say(f"warning: the inbox has {count} new files, but Prefect was not reached ({error}).")
                inbox.forget()
        time.sleep(min(SECONDS_BETWEEN_LOOKS, max(quiet_seconds / 4, 0.2)))


def announce() -> str:
    """Tell the configured server that images have come in; deployments with a trigger for it run then.

    Returns:
        A line for the user.

    Raises:
        HarmoniadError: No server is configured, or it does not answer.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise HarmoniadError(
            "PREFECT_API_URL is not set: there is no server to tell. `harmoniad serve --watch` needs none."
        )
    event = Event(event=ARRIVED, resource=Resource({"prefect.resource.id": f"harmoniad.inbox.{_project()}"}))
    try:
        asyncio.run(_emit(event))
    except Exception as error:  # of websockets, of httpx, or the system's
        raise HarmoniadError(f"no Prefect server answers at {url} ({type(error).__name__}).") from error
    return f"announce: {url} knows that images have come in ({ARRIVED})"


async def _emit(event: Event) -> None:
    async with get_events_client(reconnection_attempts=1) as client:
        await client.emit(event)


def _start_run(deployment: str, count: int, say: Callable[[str], None]) -> None:
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(f"{retraining.name}/{deployment}")
        run = client.create_flow_run_from_deployment(found.id)
    say(f"serve: {count} new files in the inbox: retraining {run.name}")


def _in_background(work: Callable[[], None]) -> None:
    """In a thread that knows Prefect's settings and ends with the process."""
    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()


def _when(schedule: CronSchedule | None, quiet_seconds: float | None) -> str:
    clock = [f"at `{schedule.cron}` ({schedule.timezone})"] if schedule else []
    inbox = [f"when the inbox has been quiet for {quiet_seconds / 60:g} minutes"] if quiet_seconds is not None else []
    return f"retraining {' and '.join([*clock, *inbox])}"


def _project() -> str:
    """The folder's name, without what Prefect takes in no name."""
    return re.sub(r"[/%&><]", "-", Path.cwd().name) or "factory"
