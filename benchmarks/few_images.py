"""How many training images does it take, with and without rotations?

    python benchmarks/few_images.py --data FOLDER --out results/benchmarks/few_images

FOLDER has the layout of MVTec AD. One joint model over its categories is trained on 4, 10, 30 and all good images a
category, on the images as they are and at several angles, for three seeds, which choose the images and start the
detector. Writes few_images.md, few_images.csv and few_images.png. A figure that was measured is kept in `cells/` and
not measured again, so that a stopped run goes on where it was; other code, data or params are other cells.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from pydantic import ValidationError

import harmoniad
from harmoniad.data.layouts import mvtec
from harmoniad.data.masks import join_masks
from harmoniad.data.measure import measure_all
from harmoniad.environment import keep_quiet
from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json, replacing, sha256_file, sha256_json, write_bytes, write_json
from harmoniad.params import PARAMS_FILE, Params, load_params

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

METRICS = {"image_auroc": "image AUROC", "pixel_ap": "pixel AP", "aupro": "AUPRO"}
COLOURS = ("#3b75af", "#d1762c")
CODE = ("data/synthetic", "features", "metrics", "models", "evaluation.py", "scoring.py", "tiling.py")
ALL = 0  # as a number of images


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training: on how many images a category, at how many angles, and with which seed."""

    images: int
    rotations: int
    seed: int


OUT = Path("results/benchmarks/few_images")


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("results/benchmarks/few_images"), show_default=True
)
@click.option("--params", "params_file", type=click.Path(path_type=Path), default=PARAMS_FILE, show_default=True)
@click.option("--encoder", "name", help="Overrides encoder.name.")
@click.option("--weights", help="Overrides encoder.weights.")
@click.option("--resolution", type=int, help="Overrides encoder.resolution.")
@click.option("--layers", help="Overrides encoder.layers, such as 3,5,7.")
@click.option("--detector", help="Overrides detector.name.")
@click.option("--numbers", default="4,10,30", show_default=True, help="Training images a category; all come on top.")
@click.option("--rotations", default=8, show_default=True, help="Evenly spaced angles; compared with 1.")
@click.option("--seeds", default=3, show_default=True)
def main(data: Path, out: Path, params_file: Path, numbers: str, rotations: int, seeds: int, **given: Any) -> None:
    """Measure accuracy against the number of training images, with and without rotations."""
    keep_quiet()
    try:
        params = _params(params_file, **given)
        table = _read(data)
        largest = int(_good(table).groupby("category").size().max())
        counts = [n for n in _integers(numbers) if n < largest] + [ALL]
        cells = [Cell(n, r, seed) for n in counts for r in (1, rotations) for seed in range(seeds)]
        rows = [_measured(cell, table, params, out / "cells", f"{k}/{len(cells)}") for k, cell in enumerate(cells, 1)]
    except HarmoniadError as error:
        raise click.ClickException(str(error)) from error
    _write(out, rows, largest, f"{data.name}, {params.encoder.name}, {params.detector.name}")


def _params(file: Path, *, layers: str | None, detector: str | None, **encoder: str | int | None) -> Params:
    content = load_params(file).model_dump(by_alias=True)
    content["encoder"] |= {key: value for key, value in encoder.items() if value is not None}
    if layers:
        content["encoder"]["layers"] = _integers(layers)
    if detector:
        content["detector"]["name"] = detector
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise HarmoniadError(str(error)) from error


def _integers(text: str) -> list[int]:
    return sorted({int(part) for part in text.split(",")})


def _read(data: Path) -> "pd.DataFrame":
    """One row an image, as in a manifest."""
    import pandas as pd

    records = list(mvtec.read(data))
    rows = [
        {**dataclasses.asdict(record), "path": record.path.as_posix(), "mask": join_masks(record.masks), **measured}
        for record, measured in zip(records, measure_all(records, "read"), strict=True)
    ]
    if not rows:
        raise HarmoniadError(f"{data}: holds no images. Expected {mvtec.EXPECTED}.")
    table = pd.DataFrame(rows)
    return table[table["problem"] == ""].reset_index(drop=True)


def _good(table: "pd.DataFrame") -> "pd.DataFrame":
    return table[(table["split"] == "train") & (table["label"] == "good")]


def _choose(table: "pd.DataFrame", cell: Cell) -> "pd.DataFrame":
    """Training images of each category: a larger number of the same seed holds the smaller one."""
    import pandas as pd

    parts = []
    for _, rows in _good(table).groupby("category", sort=True):
        order = np.random.default_rng(cell.seed).permutation(len(rows))
        parts.append(rows.sort_values("sha256").iloc[order[: cell.images or len(rows)]])
    return pd.concat(parts, ignore_index=True)


def _measured(cell: Cell, table: "pd.DataFrame", params: Params, folder: Path, place: str) -> dict[str, Any]:
    """The figures of a cell, from its file or measured now."""
    from harmoniad.features.encoders import EncoderSpec

    views = params.views.model_copy(update={"rotations": cell.rotations})
    params = params.model_copy(update={"seed": cell.seed, "views": views})
    train, test = _choose(table, cell), table[table["split"] == "test"]
    identity = {
        "encoder": EncoderSpec.from_params(params.encoder).key,
        "params": params.model_dump(include={"detector", "train", "evaluate", "views", "seed"}),
        "images": [sorted(rows["sha256"] + rows["mask_sha256"] + rows["category"]) for rows in (train, test)],
        "code": _code(),
    }
    file = folder / f"{sha256_json(identity)[:16]}.json"
    if not file.is_file():
        write_json(file, {**dataclasses.asdict(cell), **_run(train, test, params, folder)})
    found: dict[str, Any] = read_json(file)
    figures = ", ".join(f"{METRICS[name]} {found[name]:.3f}" for name in METRICS)
    click.echo(f"{place}: {cell.images or 'all'} images, {cell.rotations} rotations, seed {cell.seed}: {figures}")
    return found


def _run(train: "pd.DataFrame", test: "pd.DataFrame", params: Params, folder: Path) -> dict[str, float]:
    import pandas as pd
    import torch

    from harmoniad.evaluation import CategoryMetrics, score_images
    from harmoniad.features.dataset import image_paths, image_views, training_features
    from harmoniad.features.encode import ensure_features
    from harmoniad.features.encoders import EncoderSpec, choose_device
    from harmoniad.features.views import views_of
    from harmoniad.models.detector import detector_class
    from harmoniad.models.storage import TrainedModel
    from harmoniad.scoring import ImageScore
    from harmoniad.stages.train import delete_checkpoints
    from harmoniad.tiling import Tiling

    torch.manual_seed(params.seed)
    rows, spec = pd.concat([train, test], ignore_index=True), EncoderSpec.from_params(params.encoder)
    views = image_views(rows, lambda row: views_of(row, params.views))
    cache, _ = ensure_features(image_paths(rows), spec, params.encode, params.device, views)
    good, synthetic = training_features(cache, train, params.views)
    detector = detector_class(params.detector.name).create(cache.shapes, params)
    checkpoint = folder / "checkpoint.safetensors"
    delete_checkpoints(checkpoint)  # of another cell
    detector.fit(good, synthetic=synthetic, device=choose_device(params.device), checkpoint=checkpoint)
    delete_checkpoints(checkpoint)
    tiling = Tiling.from_params(params.views)
    model = TrainedModel(params.detector.name, detector, spec, sorted(set(good.categories)), "", params.seed, tiling)
    metrics, records = CategoryMetrics(params.evaluate.max_side), test.to_dict("records")
    for scored in score_images(test, model, cache, ImageScore.from_params(params.evaluate), "score"):
        metrics.update(records[scored.position], scored.score, scored.pixel_map)
    mean = metrics.compute()["mean"]
    return {name: mean[name] for name in METRICS}


def _code() -> str:
    root = Path(harmoniad.__file__).parent
    files = [file for part in CODE for file in ([root / part] if part.endswith(".py") else (root / part).rglob("*.py"))]
    return sha256_json(sorted(sha256_file(file) for file in files))


def _write(out: Path, rows: Sequence[dict[str, Any]], largest: int, title: str) -> None:
    import pandas as pd

    table = pd.DataFrame(rows)
    table["images"] = table["images"].replace(ALL, largest)
    write_bytes(out / "few_images.csv", table.to_csv(index=False, float_format="%.5f", lineterminator="\n").encode())
    groups = table.groupby(["images", "rotations"])[list(METRICS)]
    spread = groups.agg(lambda figures: f"{figures.mean():.3f} ± {figures.std(ddof=0):.3f}")
    lines = [
        f"{title}; mean ± standard deviation over {table['seed'].nunique()} seeds.",
        "",
        "| training images a category | rotations | " + " | ".join(METRICS.values()) + " |",
        "|---|---|" + "---|" * len(METRICS),
    ]
    for (images, rotations), figures in spread.iterrows():
        name = f"all (up to {images})" if images == largest else images
        lines.append(f"| {name} | {rotations} | " + " | ".join(figures[list(METRICS)]) + " |")
    text = "\n".join(lines) + "\n"
    write_bytes(out / "few_images.md", text.encode())
    _plot(out / "few_images.png", table, largest, title)
    click.echo(f"\n{text}\n{out / 'few_images.png'}")


def _plot(path: Path, table: "pd.DataFrame", largest: int, title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    for number, metric in enumerate(METRICS, start=1):
        _draw(figure.add_subplot(1, len(METRICS), number), table, metric, largest)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw(axis: "Axes", table: "pd.DataFrame", metric: str, largest: int) -> None:
    numbers = sorted(table["images"].unique())
    place = {number: position for position, number in enumerate(numbers)}
    for colour, (rotations, rows) in zip(COLOURS, table.groupby("rotations"), strict=False):
        figures = rows.groupby("images")[metric]
        x = [place[number] for number in figures.mean().index]
        label = "images as they are" if rotations == 1 else f"at {rotations} angles"
        axis.fill_between(x, figures.min(), figures.max(), color=colour, alpha=0.15, linewidth=0)
        axis.plot(x, figures.mean(), marker="o", markersize=5, color=colour, label=f"{label} (band: all seeds)")
    axis.set_xticks(range(len(numbers)), [f"all ({n})" if n == largest else str(n) for n in numbers])
    axis.set_xlim(-0.3, len(numbers) - 0.7)
    axis.set_xlabel("training images a category", fontsize=9)
    axis.set_title(METRICS[metric], fontsize=10)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", color="#dddddd", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
