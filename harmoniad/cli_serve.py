"""The commands that keep retraining: on this machine, or by telling a Prefect server of new images."""

import click

from harmoniad.errors import HarmoniadError

QUIET = click.option(
    "--quiet-minutes",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="With --watch: how long no file may have changed.",
)


@click.command()
@click.option("--cron", help='By the clock, such as "0 2 * * *" for every night at two.')
@click.option("--timezone", help="Of --cron, such as Europe/Berlin; this machine's if it is not given.")
@click.option("--watch", is_flag=True, help="Whenever new files in data/inbox are complete.")
@QUIET
def serve(cron: str | None, timezone: str | None, watch: bool, quiet_minutes: float) -> None:
    """Retrain by a schedule, or when images arrive, until Ctrl-C; one retraining at a time, on this machine."""
    if not cron and not watch:
        raise HarmoniadError('say when: --cron "0 2 * * *", --watch, or both.')
    if timezone and not cron:
        raise HarmoniadError("--timezone belongs to --cron.")
    from flows.serving import serve as run

    run(cron, timezone, _quiet_seconds(quiet_minutes) if watch else None, click.echo)


@click.command()
@click.option("--watch", is_flag=True, help="Stay, and tell it each time new files in data/inbox are complete.")
@QUIET
def announce(watch: bool, quiet_minutes: float) -> None:
    """Tell the Prefect server that images have come in: deployments with a trigger for it run (see prefect.yaml)."""
    from flows import serving

    if watch:
        serving.watch(_quiet_seconds(quiet_minutes), lambda _: click.echo(serving.announce()), click.echo)
    else:
        click.echo(serving.announce())


def _quiet_seconds(minutes: float) -> float:
    """Never so short that the ingest would leave the files for the next time."""
    from harmoniad.params import load_params

    return max(minutes * 60, load_params().ingest.quiet_seconds + 1)
