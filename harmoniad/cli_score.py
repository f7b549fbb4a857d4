"""The command `harmoniad score`."""

import sys
from pathlib import Path

import click

ACCEPTED, REJECTED, UNREADABLE = 0, 3, 4


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="PATH...")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option(
    "--model",
    default="champion",
    show_default=True,
    help="An alias or a number of a registered version, models:/NAME@ALIAS, models:/NAME/VERSION, or a model's folder.",
)
@click.option("--category", help="Of the images whose category is not told; it chooses the threshold.")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1, 1024), help="Images at once.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--watch", is_flag=True, help="Go on with what arrives, until Ctrl-C.")
@click.option("--no-heatmaps", is_flag=True, help="Write no heat maps and overlays; the page still shows the worst.")
@click.option("--fresh", is_flag=True, help="Delete what an earlier call left in the folder of --out.")
def score(
    sources: tuple[str, ...],
    out: Path,
    model: str,
    category: str | None,
    batch_size: int,
    device: str,
    watch: bool,
    no_heatmaps: bool,
    fresh: bool,
) -> None:
    """Score images with a registered model or a model's folder.

    PATH is a folder (with all that is in it), a file, a glob in quotes, or a CSV with a column `path`, relative to the
    CSV's folder, and, if wanted, `category`. --out gets scores.csv, index.html, heatmaps/ and overlays/, as it goes:
    after a kill, the same call goes on where it was. An image that cannot be read is a row with the reason.

    \b
    Exit code:
      0    all images were accepted
      3    at least one was rejected
      4    none was rejected, but at least one could not be read
      1,2  an error in the call: nothing was scored, or no further
    """
    import threading
    import warnings

    import harmoniad
    from harmoniad.report.text import one_line
    from harmoniad.score import run

    warnings.filterwarnings("ignore", module="PIL")  # what is wrong with an image stands in its row
    inspector = harmoniad.load(model, device)
    known = inspector.threshold.categories
    if category and category not in known:
        click.echo(
            f"warning: the model does not know the category {one_line(category)}: the joint threshold holds.", err=True
        )
    settings = run.Settings(out, category, batch_size, not no_heatmaps, fresh)
    if watch:
        click.echo("watching; Ctrl-C ends it", err=True)
        found = run.watch(inspector, sources, settings, threading.Event())
    else:
        found = run.score(inspector, sources, settings)
    rate = f", {found.scored / found.seconds:.1f} images/s" if found.scored and found.seconds else ""
    click.echo(
        f"{found.counts['rejected']} rejected, {found.counts['accepted']} accepted, {found.counts['unreadable']} "
        f"unreadable; {found.scored} scored now{rate}"
    )
    if found.left_out:
        click.echo(f"{found.left_out} files are not named like an image and were left out")
    click.echo(f"page: {(out / run.PAGE).as_posix()}")
    sys.exit(REJECTED if found.counts["rejected"] else UNREADABLE if found.counts["unreadable"] else ACCEPTED)
