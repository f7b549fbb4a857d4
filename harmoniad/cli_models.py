"""The commands that show, compare and choose the registered versions of the model."""

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path)


@click.command()
def models() -> None:
    """List the registered versions, their aliases and their metrics."""
    from harmoniad.params import load_params
    from harmoniad.report.text import aligned
    from harmoniad.tracking.store import ui_command
    from harmoniad.tracking.versions import list_versions

    versions = list_versions(load_params())
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
    click.echo(aligned([names.split(), *rows]))
    click.echo(f"\nOpen MLflow: {ui_command()}")


@click.command()
@click.argument("version")
def promote(version: str) -> None:
    """Make VERSION, a number or an alias, the champion by hand, whatever the gate said."""
    from harmoniad.params import load_params
    from harmoniad.tracking.promotion import promote as run

    click.echo(run(load_params(), version))


@click.command()
def rollback() -> None:
    """Make the version champion again that was it before."""
    from harmoniad.params import load_params
    from harmoniad.tracking.promotion import rollback as run

    click.echo(run(load_params()))


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--out", type=FOLDER, help="The page; results/compare/FIRST-SECOND.html if it is not given.")
def compare(first: str, second: str, out: Path | None) -> None:
    """Compare two registered versions, numbers or aliases, on the current images.

    Prints a table and writes a page with the images whose verdict changed, with both heat maps.
    """
    from harmoniad.params import load_params
    from harmoniad.tracking.compare import compare as run

    click.echo(run(load_params(), first, second, out))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
