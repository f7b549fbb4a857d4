"""The command `harmoniad`. Heavy libraries are imported inside the commands: `--help` answers at once."""

import atexit
import gc
import sys
from typing import Any, NoReturn

import click

from harmoniad import __version__
from harmoniad.cli_data import data
from harmoniad.cli_export import export
from harmoniad.cli_leaderboard import leaderboard
from harmoniad.cli_models import compare, models, promote, rollback
from harmoniad.cli_score import score
from harmoniad.cli_serve import announce, serve
from harmoniad.cli_serve_model import serve_model
from harmoniad.environment import keep_quiet
from harmoniad.errors import TRY_AGAIN, HarmoniadError, UnreachableError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Visual quality inspection: versioned data in, a validated, registered anomaly detector out.

    Run it in the project's folder. `dvc repro` runs the stages that are not up to date, in order.
    """


@cli.group()
def weights() -> None:
    """Fetch encoder weights."""


@weights.command("fetch")
def weights_fetch() -> None:
    """Download the weights that params.yaml names by tag into weights/."""
    from harmoniad.features.weights import fetch

    click.echo(f"weights: {fetch(_params().encoder).as_posix()}")


@cli.command()
@click.option("--logical", is_flag=True, help="Make the sample of logical defects instead, and add it as a data set.")
@click.option("--name", default="logical", show_default=True, help="With --logical: the name of the data set.")
def sample(logical: bool, name: str) -> None:
    """Stage: make the built-in sample data set."""
    from harmoniad.stages import sample as stage

    click.echo(stage.add_logical(_params(), name) if logical else stage.run(_params()))


@cli.command()
@click.argument("data_set", required=False)
def prepare(data_set: str | None) -> None:
    """Stage: write the manifest of DATA_SET, or of all that take part."""
    from harmoniad.stages import prepare as stage

    params = _params()
    for name in [data_set] if data_set else params.data.sets:
        click.echo(stage.run(params, name))


@cli.command()
def validate() -> None:
    """Stage: check the manifests with Great Expectations."""
    from harmoniad.stages import validate as stage

    click.echo(stage.run(_params()))


@cli.command()
def encode() -> None:
    """Stage: bring the features of every image into the cache."""
    from harmoniad.stages import encode as stage

    click.echo(stage.run(_params()))


@cli.command()
def start() -> None:
    """Stage: fetch the champion's weights if train.warm_start asks for them."""
    from harmoniad.stages import start as stage

    click.echo(stage.run(_params()))


@cli.command()
def train() -> None:
    """Stage: train one model over all categories."""
    from harmoniad.stages import train as stage

    click.echo(stage.run(_params()))


@cli.command()
def evaluate() -> None:
    """Stage: threshold, metrics, heat maps and report."""
    from harmoniad.stages import evaluate as stage

    click.echo(stage.run(_params()))


@cli.command()
def register() -> None:
    """Stage: log the run to MLflow, register the model and let the gate decide."""
    from harmoniad.stages import register as stage

    click.echo(stage.run(_params()))


@cli.command()
def summary() -> None:
    """Show the last result: metrics, registered model, heat maps, and how to open MLflow."""
    from harmoniad.summary import summarise

    click.echo(summarise(_params()))


@cli.command()
def ingest() -> None:
    """Take the new images in data/inbox into their data sets; what is not fit goes to data/quarantine."""
    from harmoniad.factory.ingest import run

    click.echo("\n".join(run(_params()).lines()))


@cli.command()
@click.option("--accept", is_flag=True, help="Say that the new images are as they should be from now on.")
def drift(accept: bool) -> None:
    """Compare the new images with those that the champion knows: nothing new, retrain, or a person should look."""
    from harmoniad.factory.drift import accept as accept_images
    from harmoniad.factory.drift import run

    click.echo(accept_images(_params()) if accept else "\n".join(run(_params()).lines()))


@cli.command()
@click.option("--results", is_flag=True, help="The model's: dvc.lock and the metrics, and what DVC keeps of them.")
def version(results: bool) -> None:
    """Make what came in a version: `dvc add`, a git commit, and `dvc push` where a remote is configured."""
    from harmoniad.factory import results_version, versioning

    click.echo("\n".join(results_version.run() if results else versioning.run(_params())))


@cli.command()
def retrain() -> None:
    """Run the whole pipeline as a Prefect flow: retries, timeouts, logs and artifacts."""
    from flows.retraining import retrain as run_flow

    run_flow()


for command in (announce, compare, data, export, leaderboard, models, promote, rollback, score, serve, serve_model):
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command; what the user can mend is told in one line, with exit code 1."""
    keep_quiet()
    _search_less_for_garbage()
    _speak_any_alphabet()
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("stopped. Run the same command again: it goes on where it was.", 130)
    except HarmoniadError as error:
        _fail(str(error), TRY_AGAIN if isinstance(error, UnreachableError) else 1)
    except OSError as error:
        _fail(_os_reason(error), 1)
    sys.exit(0)


def _search_less_for_garbage() -> None:
    """Not after every 700 new objects: a library brings some 100,000, none of which is garbage; and not at the exit.

    With torch or Great Expectations that takes a fifth off the import, and one to two seconds off the end of a process.
    """
    gc.set_threshold(10_000, 10, 10)
    atexit.register(gc.freeze)


def _speak_any_alphabet() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a name may not fit the terminal's encoding


def _fail(reason: str, code: int) -> NoReturn:
    click.echo(f"error: {' '.join(reason.split())}", err=True)
    sys.exit(code)


def _os_reason(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _params() -> Any:
    from harmoniad.params import load_params

    return load_params()
