"""Accuracy and speed: data sets x encoders x detectors x seeds, as one table, a CSV and a plot.

    python benchmarks/accuracy.py --data sample:0
    python benchmarks/accuracy.py --data real=FOLDER \\
        --weights dinov2_vits14=FILE

One joint model over all categories of a data set. The params are those of params.yaml, changed by what
benchmarks/accuracy.yaml says of an encoder and of a detector. A seed decides two things: the detector's chance
(order of training, initialisation, coreset) and which good training images are held out for the threshold; seed
0 keeps the choice of `harmoniad prepare`. The test images are the same for all seeds.

Every cell of the table runs in a process of its own, whose peak memory is told, and is kept: the same command
computes only what is missing, and everything anew whose data, params or code have changed. Features come from
the cache, which is filled before a cell's clock starts. Images a second: `cached` from the features in the
cache to the image score; `with encoder` adds the time from the file to the features, measured once an encoder.
Speeds and times hold for this machine, and for nothing else running on it.

Recall: share of the images with a defect of that size (tiny < 0.1 % of the image, small < 1 %) that are flagged
at the threshold set on held-out good images; `good flagged` is the share of good test images flagged at the
same threshold.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script is looked for in its own folder only

from benchmarks import common, tables
from benchmarks.cells import Cell, cells_of, run_cells
from benchmarks.datasets import PARTS, read_data_sets
from harmoniad.environment import keep_quiet
from harmoniad.files import write_bytes
from harmoniad.params import check_params
from harmoniad.report.tables import METRICS

CONFIG = common.BENCHMARKS / "accuracy.yaml"
COMMAND = "python benchmarks/accuracy.py"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cells that are missing and write the tables.

    Raises:
        HarmoniadError: An option, the config or a data set is wrong, or a cell failed.
    """
    parser = common.parser_of(__doc__, CONFIG, "accuracy")
    parser.add_argument(
        "--detectors", type=common.names, help="some of those in the config, or bare names, with commas"
    )
    parser.add_argument("--part", choices=PARTS, default="all", help="of the test images of folders")
    options = parser.parse_args(arguments)
    keep_quiet()
    cells = plan(options)
    results = run_cells(cells, options.cells)
    given = sys.argv[1:] if arguments is None else arguments
    text = write_tables(results, options.out, part=options.part, command=" ".join([COMMAND, *given]))
    print(text)
    print(f"\nwritten to {options.out.as_posix()}: accuracy.md, accuracy.csv, cells.csv, accuracy.png")


def plan(options: argparse.Namespace) -> list[Cell]:
    """The cells that the options ask for."""
    config = common.read_yaml(options.config)
    base = common.base_params(options)
    encoders = common.encoders_of(config, options)
    known = common.named_overrides(config, "detectors", options.config)
    bare = {name: {"detector": {"name": name}} for name in options.detectors or () if name not in known}
    detectors = common.choose({**known, **bare}, options.detectors, options.config)
    seeds = options.seeds if options.seeds is not None else common.seeds_of(config, options.config)
    common.check_all(base, encoders, detectors, options.config)
    params = check_params(base, str(options.params))
    data_sets = read_data_sets(options.data or ["sample:0"], params.prepare, params.sample)
    return cells_of(data_sets, encoders, detectors, seeds, base=base, part=options.part, source=options.config)


def write_tables(results: Sequence[dict[str, Any]], out: Path, *, part: str, command: str) -> str:
    """Write the tables and the plot, and give the markdown back."""
    from benchmarks.plot import write_plot

    cells = tables.long_table(results)
    summary = tables.over_seeds(cells)
    text = _markdown(results, summary, part, command)
    write_bytes(out / "accuracy.md", f"{text}\n".encode())
    for name, table in (("accuracy.csv", summary), ("cells.csv", cells)):
        write_bytes(out / name, table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    write_plot(out / "accuracy.png", summary)
    return text


def _markdown(results: Sequence[dict[str, Any]], summary: Any, part: str, command: str) -> str:
    is_mean = summary["category"] == tables.MEAN
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(result["seed"] for result in results))
    threads = ", ".join(str(number) for number in sorted({result["threads"] for result in results}))
    return "\n".join(
        [
            f"`{command}`",
            "",
            f"Mean ± standard deviation over seeds {seeds}; means over the categories; {part} test images; "
            f"threads: {threads}. Best of a data set and encoder in bold.",
            *(f"- {line}" for line in tables.counts_by_area(results)),
            "",
            tables.markdown(summary[is_mean], tables.NAMES, list(tables.HEADS)),
            "",
            "By category:",
            "",
            tables.markdown(
                summary[~is_mean].sort_values(["data", "category", "encoder"], kind="stable"),
                ["data", "category", "encoder", "detector"],
                [*METRICS, *tables.RECALLS],
            ),
        ]
    )


if __name__ == "__main__":
    common.run_main(main)
