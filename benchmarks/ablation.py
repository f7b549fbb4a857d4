"""Ablation: which part of the detector brings what, on images of which no figure is shown anywhere else.

    python benchmarks/ablation.py --data sample:11 --data varied:12 --data real=FOLDER

Variants stand in benchmarks/ablation.yaml as changes of params.yaml; the first one is what the others are
compared with. Of a folder's test images only the validation half is used (see `datasets.part_of`), of generated
samples all: their seeds differ from that of the sample that the README shows. `varied` samples lie at any angle
and change their material.

The figures are means over categories, then over seeds (± standard deviation); the last row of a variant is the
mean over the data sets. `score` is the mean of image AUROC, pixel AP and AUPRO.

Leave one product out: for each product, the variant is chosen whose score is highest on all *other* products,
and its score on the product that was left out is compared with the first variant's. Only the choice leaves the
product out: the joint model was trained with it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script is looked for in its own folder only

from benchmarks import common, tables
from benchmarks.cells import Cell, cells_of, run_cells
from benchmarks.datasets import read_data_sets
from harmoniad.environment import keep_quiet
from harmoniad.files import write_bytes
from harmoniad.params import check_params

if TYPE_CHECKING:
    import argparse

    import pandas as pd

CONFIG = common.BENCHMARKS / "ablation.yaml"
COMMAND = "python benchmarks/ablation.py"
DATA = ["sample:11", "varied:12"]
FIGURES = {"image_auroc": "image AUROC", "pixel_ap": "pixel AP", "aupro": "AUPRO", "score": "score"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cells that are missing and write the tables.

    Raises:
        HarmoniadError: An option, the config or a data set is wrong, or a cell failed.
    """
    parser = common.parser_of(__doc__, CONFIG, "ablation")
    parser.add_argument("--variants", type=common.names, help="some of those in the config, with commas")
    options = parser.parse_args(arguments)
    keep_quiet()
    results = run_cells(plan(options), options.cells)
    given = sys.argv[1:] if arguments is None else arguments
    text = write_tables(results, options.out, " ".join([COMMAND, *given]))
    print(text)
    print(f"\nwritten to {options.out.as_posix()}: ablation.md, ablation.csv, left_out.csv, cells.csv")


def plan(options: "argparse.Namespace") -> list[Cell]:
    """The cells that the options ask for."""
    config = common.read_yaml(options.config)
    base = common.base_params(options)
    encoders = common.encoders_of(config, options)
    known = common.named_overrides(config, "variants", options.config)
    variants = common.choose(known, options.variants, options.config)
    seeds = options.seeds if options.seeds is not None else common.seeds_of(config, options.config)
    common.check_all(base, encoders, variants, options.config)
    params = check_params(base, str(options.params))
    data_sets = read_data_sets(options.data or DATA, params.prepare, params.sample)
    return cells_of(data_sets, encoders, variants, seeds, base=base, part="validation", source=options.config)


def write_tables(results: Sequence[dict[str, Any]], out: Path, command: str) -> str:
    """Write the tables, and give the markdown back."""
    cells = tables.long_table(results)
    cells["score"] = cells[["image_auroc", "pixel_ap", "aupro"]].mean(axis=1, skipna=False)
    summary, left = by_data_set(cells), left_out(cells)
    seeds = ", ".join(str(seed) for seed in cells["seed"].unique())
    text = "\n".join(
        [
            f"`{command}`",
            "",
            f"Mean ± standard deviation over seeds {seeds}; in brackets the difference to the first variant.",
            *(f"- {line}" for line in tables.counts_by_area(results)),
            "",
            _variants_markdown(summary),
            "",
            "Leave one product out: the variant with the highest score on the other products, on the one left out:",
            "",
            _left_out_markdown(left),
        ]
    )
    write_bytes(out / "ablation.md", f"{text}\n".encode())
    for name, table in (("ablation.csv", summary), ("left_out.csv", left), ("cells.csv", cells)):
        write_bytes(out / name, table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    return text


def by_data_set(cells: "pd.DataFrame") -> "pd.DataFrame":
    """Mean and deviation over seeds of each variant, a row a data set and one for the mean over the data sets."""
    import pandas as pd

    names, figures = ["encoder", "detector", "data", "seed"], list(FIGURES)
    single = cells.loc[cells["category"] == tables.MEAN, [*names, *figures]]
    over_data = single.groupby(["encoder", "detector", "seed"], sort=False)[figures].mean().reset_index()
    both = pd.concat([single, over_data.assign(data=tables.MEAN)]) if single["data"].nunique() > 1 else single
    grouped = both.groupby(["encoder", "data", "detector"], sort=False)[figures]
    summary = grouped.agg(["mean", "std"])
    summary.columns = [f"{figure}_{kind}" for figure, kind in summary.columns]
    summary = summary.reset_index()
    for figure in figures:
        first = summary.groupby(["encoder", "data"])[f"{figure}_mean"].transform("first")
        summary[f"{figure}_difference"] = summary[f"{figure}_mean"] - first
    return summary


def left_out(cells: "pd.DataFrame") -> "pd.DataFrame":
    """What the choice on all other products gives on each product.

    Returns:
        A row an encoder and product: the variant chosen, its score there, the first variant's and the best one's.
    """
    import pandas as pd

    products = cells[cells["category"] != tables.MEAN]
    rows = []
    for encoder, of_encoder in products.groupby("encoder", sort=False):
        names = of_encoder["data"] + "/" + of_encoder["category"]
        means = of_encoder.assign(product=names).groupby(["product", "detector"], sort=False)["score"].mean().unstack()
        means = means[list(dict.fromkeys(of_encoder["detector"]))].dropna()
        for product in means.index if len(means) > 1 else ():
            chosen = means.drop(index=product).mean().idxmax()
            here = means.loc[product]
            rows.append([encoder, product, chosen, here[chosen], here.iloc[0], here.idxmax(), here.max()])
    return pd.DataFrame(
        rows, columns=["encoder", "product", "chosen", "its_score", "first_score", "best_here", "best_score"]
    )


def _variants_markdown(summary: "pd.DataFrame") -> str:
    lines = [f"| encoder | data | variant | {' | '.join(FIGURES.values())} |", f"|---|---|---|{'---:|' * len(FIGURES)}"]
    for row in summary.to_dict("records"):
        cells = [
            f"{tables.mean_and_deviation(row[f'{figure}_mean'], row[f'{figure}_std'])} "
            f"({tables.mean_and_deviation(row[f'{figure}_difference'], float('nan'), sign='+')})"
            for figure in FIGURES
        ]
        lines.append(f"| {row['encoder']} | {row['data']} | {row['detector']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _left_out_markdown(left: "pd.DataFrame") -> str:
    lines = [
        "| encoder | product left out | chosen on the others | its score | the first variant's | best here |",
        "|---|---|---|---:|---:|---|",
    ]
    for row in left.to_dict("records"):
        gain = row["its_score"] - row["first_score"]
        lines.append(
            f"| {row['encoder']} | {row['product']} | {row['chosen']} | {row['its_score']:.3f} ({gain:+.3f}) | "
            f"{row['first_score']:.3f} | {row['best_here']} ({row['best_score']:.3f}) |"
        )
    if len(left):
        means = left[["its_score", "first_score", "best_score"]].mean()
        gain = means["its_score"] - means["first_score"]
        lines.append(
            f"| | mean | | {means['its_score']:.3f} ({gain:+.3f}) | {means['first_score']:.3f} | "
            f"({means['best_score']:.3f}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    common.run_main(main)
