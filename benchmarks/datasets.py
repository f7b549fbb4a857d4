"""The data sets of a benchmark: folders and generated samples as manifests, and how their images are divided."""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import WORK_DIR
from harmoniad.data.manifest import as_table, usable
from harmoniad.data.splits import share_by_hash
from harmoniad.errors import HarmoniadError
from harmoniad.params import Prepare, Sample
from harmoniad.source_code import code_of
from harmoniad.stages.prepare import measured_rows

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("all", "validation", "test")
SAMPLE_KINDS = {"sample": False, "varied": True}

# The package's own splits look at digits 0 to 16 of the hash; this one must not follow them.
_PART_DIGITS, _SALTED_DIGITS = slice(16, 24), slice(0, 8)


@dataclass(frozen=True)
class DataSet:
    """A data set of a benchmark.

    Attributes:
        name: How the tables call it.
        manifest: Its usable images.
        generated: Whether the sample factory made it, so that no figure in the README rests on its images.
    """

    name: str
    manifest: "pd.DataFrame"
    generated: bool


def read_data_sets(arguments: Sequence[str], prepare: Prepare, factory: Sample) -> list[DataSet]:
    """Read folders, and generate the samples that are asked for.

    Args:
        arguments: As `--data` takes them.
        prepare: How a folder without a split of its own is split.
        factory: Number and size of generated images.

    Raises:
        HarmoniadError: A folder is missing or has no known layout, or two data sets have one name.
    """
    found = [_read_data_set(argument, prepare, factory) for argument in arguments]
    names = [data_set.name for data_set in found]
    for name in names:
        if names.count(name) > 1:
            raise HarmoniadError(f"--data: two data sets are called `{name}`. Name one with --data NAME=FOLDER.")
    return found


def _read_data_set(argument: str, prepare: Prepare, factory: Sample) -> DataSet:
    kind, _, seed = argument.partition(":")
    if kind in SAMPLE_KINDS and seed.isdecimal():
        name, root, generated = f"{kind}-{seed}", _generate(kind, int(seed), factory), True
    else:
        name, _, folder = argument.rpartition("=")
        root, generated = Path(folder), False
        name = name or root.resolve().name
    return DataSet(name, usable(as_table(measured_rows(root, name, prepare))), generated)


def _generate(kind: str, seed: int, factory: Sample) -> Path:
    """Make a sample unless an earlier run has made the same."""
    from harmoniad.data.sample import generate

    sizes = factory.model_dump()
    settings = "-".join(f"{key}{value}" for key, value in sizes.items())
    root = WORK_DIR / "data" / f"{kind}-{seed}-{settings}-{code_of('data/sample')[:8]}"
    if not root.is_dir():
        print(f"generate {root.as_posix()}", file=sys.stderr)
        generate(root, seed=seed, varied=SAMPLE_KINDS[kind], **sizes)
    return root


def part_of(manifest: "pd.DataFrame", part: str) -> "pd.DataFrame":
    """Keep half of the test images, or all.

    Which half an image belongs to depends on its content alone, not on a seed; both halves get images of each category
    and label that has at least two.

    Args:
        manifest: Of one data set.
        part: `validation`, on which something may be chosen; `test`, on which nothing may; or `all`.
    """
    if part == "all":
        return manifest
    test = manifest[manifest["split"] == "test"]
    validation: set[str] = set()
    for _, rows in test.groupby(["category", "label"]):
        validation |= share_by_hash(rows["sha256"], 0.5, _PART_DIGITS)
    wanted = manifest["sha256"].isin(validation) == (part == "validation")
    return manifest[(manifest["split"] != "test") | wanted].reset_index(drop=True)


def hold_out(manifest: "pd.DataFrame", seed: int, share: float) -> "pd.DataFrame":
    """Choose anew, by the seed, which good training images are held out; seed 0 keeps the package's own choice."""
    if seed == 0:
        return manifest
    drawn = manifest.copy()
    pool = drawn["split"].isin(["train", "held_out"]) & (drawn["label"] == "good")
    salted = {image: hashlib.sha256(f"{seed}:{image}".encode()).hexdigest() for image in drawn.loc[pool, "sha256"]}
    for _, rows in drawn[pool].groupby("category"):
        taken = share_by_hash((salted[image] for image in rows["sha256"]), share, _SALTED_DIGITS)
        drawn.loc[rows.index, "split"] = ["held_out" if salted[image] in taken else "train" for image in rows["sha256"]]
    return drawn
