"""The command `harmoniad leaderboard`."""

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path)


@click.command()
@click.option("--sets", help="Data sets in data/, with commas; those of params.yaml if it is not given.")
@click.option("--detectors", help="Names, with commas; all detectors if it is not given.")
@click.option("--seeds", default="0,1,2", show_default=True, help="Of the training, with commas.")
@click.option("--workers", type=click.IntRange(1), help="Entries measured at once; as many as cores if not given.")
@click.option(
    "--out", type=FOLDER, default=Path("results/leaderboard"), show_default=True, help="Folder for the page and table."
)
def leaderboard(sets: str | None, detectors: str | None, seeds: str, workers: int | None, out: Path) -> None:
    """Train and measure all detectors on the same data, and compare them on one page and in MLflow.

    Each detector with each seed on each data set is an MLflow run. What was measured before is not measured again: a
    second call goes on where the first one was stopped. Everything else is as params.yaml says.
    """
    from harmoniad.errors import HarmoniadError
    from harmoniad.leaderboard.run import run
    from harmoniad.params import load_params

    numbers = seeds.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise HarmoniadError(f"--seeds {seeds}: give whole numbers with commas, such as 0,1,2.")
    click.echo(run(load_params(), _names(sets), _names(detectors), [int(number) for number in numbers], workers, out))


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text else None
