"""The command `harmoniad`. Heavy libraries are imported inside the commands: `--help` answers at once."""

import atexit
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from harmoniad import __version__
from harmoniad.cli_export import export
from harmoniad.cli_leaderboard import leaderboard
from harmoniad.cli_score import score
from harmoniad.cli_serve import announce, serve
from harmoniad.cli_serve_model import serve_model
from harmoniad.environment import keep_quiet
from harmoniad.errors import TRY_AGAIN, HarmoniadError, UnreachableError

FOLDER = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Visual quality inspection: versioned data in, a validated, registered anomaly detector out.

    Run it in the project's folder. `dvc repro` runs the stages that are not up to date, in order.
    """


@cli.group()
def data() -> None:
    """Bring data sets in and list them."""


@data.command("add")
@click.argument("path", type=FOLDER)
@click.option(
    "--layout",
    help="mvtec, mvtec_loco, mvtec_ad_2, visa, btad, real_iad, folder or manifest; recognised by itself if it is not "
    "given.",
)
@click.option("--name", help="Name of the data set; the folder's name if it is not given.")
def data_add(path: Path, layout: str | None, name: str | None) -> None:
    """Check the data set at PATH, copy it to data/NAME and track it with DVC.

    PATH is a folder of categories, one category, or a manifest (.csv or .jsonl) that lists images.
    """
    from harmoniad.data.sets import add

    click.echo(add(path, layout, name))


@data.command("export")
@click.argument("data_set")
@click.argument("file", required=False, type=FOLDER)
def data_export(data_set: str, file: Path | None) -> None:
    """Write the manifest of DATA_SET, a name in data/ or a folder, to FILE (.csv or .jsonl)."""
    from harmoniad.data.export import export

    click.echo(export(data_set, file))


@data.command("check")
@click.argument("path", type=FOLDER)
@click.option("--layout", help="As in `data add`; recognised by itself if it is not given.")
@click.option("--out", type=FOLDER, help="Folder for the page; check-NAME, here, if it is not given.")
def data_check(path: Path, layout: str | None, out: Path | None) -> None:
    """Check the data set at PATH without adding it, and write a page that shows what was found.

    PATH is a folder of categories, one category, or a manifest (.csv or .jsonl). The exit code is 1 if a check of
    severity error fails.
    """
    from harmoniad.dataset_check import check
    from harmoniad.params import PARAMS_FILE, Params

    checked = check(path, _params() if PARAMS_FILE.is_file() else Params(), layout, out)
    click.echo("\n".join(checked.lines))
    if checked.stops:
        count = "1 finding stops" if checked.stops == 1 else f"{checked.stops} findings stop"
        raise HarmoniadError(f"{count} the pipeline. See {checked.page.as_posix()}")


@data.command("list")
def data_list() -> None:
    """List the data sets in data/."""
    from harmoniad.data.sets import list_sets

    sets = list_sets()
    rows = [
        (found.name, found.layout, str(found.categories), str(found.images), found.origin, _yes(found.in_params))
        for found in sets
    ]
    _print_table(("name", "layout", "categories", "images", "kept by", "takes part"), rows)


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
def models() -> None:
    """List the registered versions, their aliases and their metrics."""
    from harmoniad.tracking.store import ui_command
    from harmoniad.tracking.versions import list_versions

    versions = list_versions(_params())
    if not versions:
        click.echo("no model is registered yet: run `dvc repro`")
        return
    rows = [
        (
            str(found.version),
            ", ".join(found.aliases) or "–",
            found.created,
            found.detector,
            found.encoder,
            _figure(found.image_auroc),
            _figure(found.pixel_auroc),
            _figure(found.aupro),
            found.data_fingerprint,
            found.decision,
        )
        for found in versions
    ]
    names = "version aliases created detector encoder image_auroc pixel_auroc aupro data decision"
    _print_table(names.split(), rows)
    click.echo(f"\nOpen MLflow: {ui_command()}")


@cli.command()
@click.argument("version")
def promote(version: str) -> None:
    """Make VERSION, a number or an alias, the champion by hand, whatever the gate said."""
    from harmoniad.tracking.promotion import promote as run

    click.echo(run(_params(), version))


@cli.command()
def rollback() -> None:
    """Make the version champion again that was it before."""
    from harmoniad.tracking.promotion import rollback as run

    click.echo(run(_params()))


@cli.command()
@click.argument("first")
@click.argument("second")
@click.option("--out", type=FOLDER, help="The page; results/compare/FIRST-SECOND.html if it is not given.")
def compare(first: str, second: str, out: Path | None) -> None:
    """Compare two registered versions, numbers or aliases, on the current images.

    Prints a table and writes a page with the images whose verdict changed, with both heat maps.
    """
    from harmoniad.tracking.compare import compare as run

    click.echo(run(_params(), first, second, out))


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


for command in (announce, export, leaderboard, score, serve, serve_model):
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


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[column]) for line in (heads, *rows)) for column in range(len(heads))]
    for line in (heads, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
