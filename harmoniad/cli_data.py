"""The commands `harmoniad data …`."""

from pathlib import Path

import click

from harmoniad.errors import HarmoniadError

FOLDER = click.Path(path_type=Path)


@click.group()
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
    from harmoniad.params import PARAMS_FILE, Params, load_params

    checked = check(path, load_params() if PARAMS_FILE.is_file() else Params(), layout, out)
    click.echo("\n".join(checked.lines))
    if checked.stops:
        count = "1 finding stops" if checked.stops == 1 else f"{checked.stops} findings stop"
        raise HarmoniadError(f"{count} the pipeline. See {checked.page.as_posix()}")


@data.command("list")
def data_list() -> None:
    """List the data sets in data/."""
    from harmoniad.data.sets import list_sets
    from harmoniad.report.text import aligned

    rows = [
        (found.name, found.layout, str(found.categories), str(found.images), found.origin, _yes(found.in_params))
        for found in list_sets()
    ]
    click.echo(aligned([("name", "layout", "categories", "images", "kept by", "takes part"), *rows]))


def _yes(value: bool) -> str:
    return "yes" if value else "no"
