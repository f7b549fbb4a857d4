"""The prepare stage: a data set's folders become a manifest, one row an image."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from harmoniad.data.layouts import Record
from harmoniad.data.manifest import fingerprint, write_manifest
from harmoniad.data.masks import join_masks
from harmoniad.data.measure import Row, measure_all
from harmoniad.data.sets import DATA_DIR, layout_of
from harmoniad.data.splits import share_by_hash
from harmoniad.errors import HarmoniadError
from harmoniad.params import Params, Prepare

# The two splits look at different digits of the hash: with the same ones, the held-out images would all be test images.
TEST_DIGITS, HELD_OUT_DIGITS = slice(0, 8), slice(8, 16)


def run(params: Params, data_set: str) -> str:
    """Measure and split the images of one data set and write its manifest.

    Raises:
        HarmoniadError: The data set is missing, has no known layout or holds no image.
    """
    manifest = write_manifest(measured_rows(DATA_DIR / data_set, data_set, params.prepare), data_set)
    count = manifest["split"].value_counts()
    broken = int((manifest["problem"] != "").sum())
    return (
        f"prepare: {data_set}: {len(manifest)} images ({count.get('train', 0)} train, {count.get('held_out', 0)} held "
        f"out, {count.get('test', 0)} test{f', {broken} broken' if broken else ''}), categories "
        f"{', '.join(sorted(set(manifest['category'])))}, data {fingerprint(manifest)}"
    )


def measured_rows(root: Path, data_set: str, params: Prepare) -> list[Row]:
    """Measure and split the images of one data set: a row of the manifest for each.

    Raises:
        HarmoniadError: See `run`.
    """
    layout = layout_of(root)
    records = list(layout.read(root))
    if not records:
        raise HarmoniadError(f"{root.as_posix()}: holds no images. Expected {layout.EXPECTED}.")
    return rows_of(records, data_set, params, "prepare")


def rows_of(records: Sequence[Record], data_set: str, params: Prepare, label: str) -> list[Row]:
    """Measure and split records: a row of the manifest for each. `label` is what the progress is called.

    Raises:
        HarmoniadError: A file cannot be read at all.
    """
    rows = [row_of(record, data_set, row) for record, row in zip(records, measure_all(records, label), strict=True)]
    _split(rows, params.folder_test, params.held_out)
    return rows


def row_of(record: Record, data_set: str, measured: Row) -> Row:
    """The row of the manifest of one image, before it is split."""
    return measured | {
        "path": record.path.as_posix(),
        "data_set": data_set,
        "category": record.category,
        "split": record.split,
        "label": record.label,
        "defect": record.defect,
        "mask": join_masks(record.masks),
        "view": record.view,
        "group": record.group,
    }


def _split(rows: list[Row], folder_test: float, held_out: float) -> None:
    """Decide `by_hash` rows, then take the held-out images out of the good training images of each category.

    A category that brings held-out images of its own, in a validation split, keeps all others for training.
    """
    _move(rows, "by_hash", "test", folder_test, TEST_DIGITS)
    for row in rows:
        if row["split"] == "by_hash":
            row["split"] = "train"
    validated = {row["category"] for row in rows if row["split"] == "held_out" and not row["problem"]}
    _move([row for row in rows if row["category"] not in validated], "train", "held_out", held_out, HELD_OUT_DIGITS)


def _move(rows: list[Row], source: str, target: str, share: float, digits: slice) -> None:
    categories: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["split"] == source and row["label"] == "good" and not row["problem"]:
            categories[str(row["category"])].append(row)
    for images in categories.values():
        taken = share_by_hash((str(row["sha256"]) for row in images), share, digits)
        for row in images:
            if row["sha256"] in taken:
                row["split"] = target
