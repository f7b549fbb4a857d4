"""The command `harmoniad serve-model`."""

from pathlib import Path
from typing import Any

import click

from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError


@click.command("serve-model")
@click.option("--model", default="champion", show_default=True, help="An alias, a version, or a model's folder.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--token", envvar="HARMONIAD_TOKEN", default="", help="What requests must carry. Better: HARMONIAD_TOKEN."
)
@click.option("--allow-host", multiple=True, help="A name under which a proxy calls the server; may be repeated.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--batch", type=click.IntRange(1, 256), default=16, show_default=True, help="Images at once at most.")
@click.option("--wait-ms", type=click.FloatRange(0, 1000), default=3, show_default=True, help="For more of them.")
@click.option("--queue", type=click.IntRange(1, 10_000), default=64, show_default=True, help="More requests get 429.")
@click.option("--max-mb", type=click.FloatRange(min=0.001), default=20, show_default=True, help="Of a request.")
@click.option("--max-megapixels", type=click.FloatRange(min=0.001), default=30, show_default=True, help="Of an image.")
@click.option(
    "--poll-seconds", type=click.FloatRange(min=0.1), default=10, show_default=True, help="Has the alias moved?"
)
@click.option(
    "--keep",
    type=click.Choice(["flagged", "all", "none"]),
    default="flagged",
    show_default=True,
    help="Images for the review page.",
)
@click.option("--keep-images", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--keep-mb", type=click.IntRange(1), default=2000, show_default=True)
@click.option("--review-dir", type=click.Path(path_type=Path), default=STATE_DIR / "review", show_default=True)
@click.option(
    "--data-set", help="Where in data/inbox a decision writes to; the first of `data.sets` if it is not given."
)
@click.option("--kind", multiple=True, help="A kind of defect to choose from; those of the data set if none is given.")
def serve_model(
    max_mb: float,
    max_megapixels: float,
    keep_mb: int,
    data_set: str | None,
    kind: tuple[str, ...],
    allow_host: tuple[str, ...],
    **options: Any,
) -> None:
    """Serve the champion: POST /predict, GET /health, /metrics, /docs, and the review page on /review.

    The server follows the alias: when a new champion is made, it is loaded while the old one answers. SIGTERM or Ctrl-C
    ends it after what is under way.
    """
    from harmoniad.params import PARAMS_FILE, Params, load_params
    from harmoniad.serving.review.decisions import known_kinds
    from harmoniad.serving.server import serve
    from harmoniad.serving.settings import Settings

    params = load_params() if PARAMS_FILE.is_file() else Params()
    chosen, hint = inbox_set(params.data.sets, data_set)
    settings = Settings(
        max_bytes=round(max_mb * 1_000_000),
        max_pixels=round(max_megapixels * 1_000_000),
        keep_bytes=keep_mb * 1_000_000,
        data_set=chosen,
        kinds=kind or known_kinds(Path("results/prepare") / f"{chosen}.csv"),
        allowed_hosts=allow_host,
        **options,
    )
    if not settings.is_loopback and not settings.token:
        click.echo(
            "warning: other machines can use this server, and it asks for no token: set HARMONIAD_TOKEN", err=True
        )
    if hint and settings.keep != "none":
        click.echo(f"warning: {hint}", err=True)
    serve(settings, click.echo)


def inbox_set(sets: list[str], wanted: str | None) -> tuple[str, str]:
    """The data set that decisions go to, and a warning where the retraining would not take it.

    Args:
        sets: `data.sets` of params.yaml.
        wanted: What the user asked for, if anything.

    Raises:
        HarmoniadError: No images can be added to that set.
    """
    from harmoniad.data.sets import DATA_DIR, SAMPLE

    if wanted in (SAMPLE, "inbox", "quarantine"):
        raise HarmoniadError(f"--data-set {wanted}: takes no images. Choose another.")
    chosen = wanted or next((name for name in sets if name != SAMPLE), "line")
    if chosen in sets or (DATA_DIR / chosen).is_dir() or (DATA_DIR / f"{chosen}.dvc").is_file():
        return chosen, ""
    return (
        chosen,
        f"decisions go to data/inbox/{chosen}: name `{chosen}` in data.sets of params.yaml to retrain with them",
    )
