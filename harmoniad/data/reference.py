"""The ranges of brightness and sharpness of the last accepted version of the data, to notice when the light changes.

They are learned from all good images, whatever their split: a defect may well be darker than a part ever is. The images
that the accepted version held lie within its ranges by themselves, so only images that are new can lie outside.

The file keeps the ranges of the current version and those of the version before it. When the same data is validated
again, it is compared with the version before, as it was the first time: validating twice gives the same answer.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.data.manifest import fingerprint, usable
from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("brightness", "sharpness")

Version = dict[str, Any]
"""`data_fingerprint` and `categories`: for each category, the lowest and highest value of each measure."""


def version_before(path: Path, manifest: "pd.DataFrame") -> Version | None:
    """The version of the data that was accepted before the one in `manifest`; none at the first time.

    Raises:
        HarmoniadError: The file is damaged.
    """
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict) or not {"accepted", "before"} <= content.keys():
        raise HarmoniadError(f"{path}: not a reference. Delete it and run `dvc repro`.")
    accepted: Version = content["accepted"]
    before: Version | None = content["before"]
    return before if accepted["data_fingerprint"] == fingerprint(manifest) else accepted


def accept(path: Path, manifest: "pd.DataFrame", before: Version | None) -> None:
    """Write the ranges of `manifest` as the version that was accepted last."""
    good = usable(manifest)
    good = good[good["label"] == "good"]
    categories = {
        str(category): {measure: [float(rows[measure].min()), float(rows[measure].max())] for measure in MEASURES}
        for category, rows in good.groupby("category")
    }
    accepted = {"data_fingerprint": fingerprint(manifest), "categories": categories}
    write_json(path, {"accepted": accepted, "before": before})


def outside(manifest: "pd.DataFrame", measure: str, before: Version | None, margin: float) -> "pd.Series":
    """How far each image lies outside of the range of its category, in units of the measure.

    Args:
        manifest: See `harmoniad.data.manifest`.
        measure: One of `MEASURES`.
        before: The version whose ranges count.
        margin: How far a value may leave the range, as a share of the range's width.

    Returns:
        A value a row: 0 within the range; NaN where nothing can be said: for a defect, an image that cannot be
        decoded and a category that is new.
    """
    ranges = before["categories"] if before else {}
    low, high = (
        manifest["category"].map({name: values[measure][end] for name, values in ranges.items()}).astype("float64")
        for end in (0, 1)
    )
    slack = margin * (high - low)
    value = manifest[measure].where((manifest["label"] == "good") & (manifest["problem"] == ""))
    return (low - slack - value).clip(lower=0) + (value - high - slack).clip(lower=0)
