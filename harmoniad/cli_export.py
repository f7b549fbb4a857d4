"""The command `harmoniad export`."""

from pathlib import Path
from typing import Literal

import click

FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("model", default="champion")
@click.option("--format", "runtime", required=True, type=click.Choice(["onnx", "openvino"]), help="What will run it.")
@click.option("--out", required=True, type=FOLDER, help="Folder for the graph, export.json and export.md.")
@click.option("--int8", is_flag=True, help="Quantise the encoder, and tell the accuracy before and after.")
@click.option("--images", type=FOLDER, help="Images to check the export on, instead of the held-out good ones.")
def export(model: str, runtime: Literal["onnx", "openvino"], out: Path, int8: bool, images: Path | None) -> None:
    """Write a model as one graph, from the image to its score and anomaly map.

    MODEL is an alias or a number of a registered version, models:/NAME@ALIAS, models:/NAME/VERSION, or a model's
    folder; the champion without it. The graph is kept only if it answers as torch does on real images.
    """
    from harmoniad.export.run import export as run
    from harmoniad.params import PARAMS_FILE, Params, load_params

    params = load_params() if PARAMS_FILE.is_file() else Params()
    click.echo(run(model, runtime, out, params, int8=int8, images=images))
