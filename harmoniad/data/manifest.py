"""The manifest: one row an image, made by the prepare stage and read by every later one."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.errors import HarmoniadError
from harmoniad.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

MANIFEST_DIR = Path("results/prepare")

COLUMNS = {
    "path": "str",  # relative to the project, with forward slashes
    "data_set": "str",
    "category": "str",
    "split": "str",  # train, held_out (good images for the threshold) or test
    "label": "str",  # good or defect
    "defect": "str",  # the kind of defect; good for a good image
    "mask": "str",  # path of the mask, empty if there is none; `|` stands between several
    "view": "str",  # the camera, where a part is seen by several
    "group": "str",  # structural or logical, where the data set tells these apart
    "saturation": "str",  # saturation area of each mask in pixels (sPRO), `|` between them; empty if none is given
    "sha256": "str",
    "mask_sha256": "str",
    "width": "int64",
    "height": "int64",
    "mode": "str",  # as Pillow names it
    "brightness": "float64",  # mean grey value, 0 to 255
    "sharpness": "float64",  # variance of the Laplacian of the grey image
    "phash": "str",  # perceptual hash, 256 bits in hexadecimal
    "mask_width": "int64",
    "mask_height": "int64",
    "mask_area": "int64",  # pixels that are not zero
    "mask_values": "int64",  # how many different grey values
    "problem": "str",  # why the image or its mask cannot be decoded, empty if it can
}
"""Columns and their pandas types. Numbers that could not be measured are 0 and `problem` says why."""

# What makes a data set what it is. Paths are left out: a data set that is moved or renamed is the same data.
_CONTENT = ["category", "split", "label", "defect", "sha256", "mask_sha256"]


def manifest_file(data_set: str) -> Path:
    """Where the manifest of one data set lies."""
    return MANIFEST_DIR / f"{data_set}.csv"


def write_manifest(rows: "Iterable[Mapping[str, object]]", data_set: str) -> "pd.DataFrame":
    """Write the manifest of one data set, in the order of the paths, and give it back as a table.

    Args:
        rows: A mapping an image, with all of `COLUMNS`.
        data_set: The name of the data set.
    """
    table = as_table(rows)
    write_bytes(manifest_file(data_set), table.to_csv(index=False, lineterminator="\n").encode())
    return table


def as_table(rows: "Iterable[Mapping[str, object]]") -> "pd.DataFrame":
    """The manifest as a table in the order of the paths, from a mapping an image with all of `COLUMNS`."""
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(COLUMNS)
    return table.sort_values("path", ignore_index=True)


def read_manifest(data_sets: "Sequence[str]") -> "pd.DataFrame":
    """Read the manifests of some data sets as one table in the order of the paths.

    Raises:
        HarmoniadError: A manifest is missing or lacks columns.
    """
    import pandas as pd

    tables = [read_table(manifest_file(name)) for name in sorted(set(data_sets))]
    return pd.concat(tables, ignore_index=True).sort_values("path", ignore_index=True)


def read_table(path: Path) -> "pd.DataFrame":
    """Read one manifest file.

    Raises:
        HarmoniadError: It is missing or lacks columns.
    """
    import pandas as pd

    if not path.is_file():
        raise HarmoniadError(f"{path}: no such manifest. Run `dvc repro prepare`.")
    table = pd.read_csv(path, dtype=COLUMNS, keep_default_na=False)
    if list(table.columns) != list(COLUMNS):
        raise HarmoniadError(f"{path}: made by another version of harmoniad. Run `dvc repro -f prepare`.")
    return table


def usable(manifest: "pd.DataFrame") -> "pd.DataFrame":
    """The rows whose image can be decoded."""
    return manifest[manifest["problem"] == ""].reset_index(drop=True)


def fingerprint(manifest: "pd.DataFrame") -> str:
    """A hash of the content of a manifest: images, masks, labels and splits, not paths (16 hexadecimal digits)."""
    rows = sorted("\t".join(row) for row in manifest[_CONTENT].itertuples(index=False))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def fingerprint_of_test_images(manifest: "pd.DataFrame") -> str:
    """The fingerprint of the test images alone: two models can be compared only where it is the same."""
    return fingerprint(manifest[manifest["split"] == "test"])
