"""Telling people how a retraining ended, whatever way it ended."""

from pathlib import Path
from urllib.parse import urlsplit

from prefect import get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE

from harmoniad.errors import HarmoniadError
from harmoniad.factory.notify import send
from harmoniad.factory.story import Story, compose, page_of, remember
from harmoniad.params import load_params
from harmoniad.tracking.results import REPORT_FILE
from harmoniad.tracking.store import tracking_uri, ui_command

DRIFT_PLOT = Path("results/drift/drift.png")


@task(name="notify", task_run_name="notify", cache_policy=NO_CACHE)
def tell(story: Story, error: Exception | None = None) -> None:
    """Send the story; what goes wrong with that is a warning and never fails the run."""
    logger = get_run_logger()
    try:
        message = compose(story, Path.cwd().name, error, _links(story))
        logger.info(message.text)
        lines = send(message, load_params().notify)
    except (HarmoniadError, OSError, KeyError, TypeError) as problem:
        logger.warning("nobody was told: %s", problem)
        return
    for line in lines:
        (logger.warning if line.startswith("warning: ") else logger.info)(line.removeprefix("warning: "))
    if not any(line.startswith("warning: ") for line in lines):
        remember(story)


def _links(story: Story) -> dict[str, str]:
    links = page_of(DRIFT_PLOT if story.ended == "Drift" else REPORT_FILE) | {"MLflow": _mlflow(story)}
    page = runtime.flow_run.ui_url
    return links | ({"Prefect": page} if page else {})


def _mlflow(story: Story) -> str:
    """The version's page on a server, or the command that opens the pages of the store in the project."""
    uri = urlsplit(tracking_uri())
    if not uri.scheme.startswith("http"):
        return ui_command()
    address = uri._replace(netloc=uri.netloc.rpartition("@")[2]).geturl()  # without a password
    if story.registered is None:
        return address
    return f"{address.rstrip('/')}/#/models/{story.registered['name']}/versions/{story.registered['version']}"
