"""Writing a data set of any layout as a manifest, the table that every tool can read."""

from pathlib import Path

from harmoniad.data.layouts import Record, manifest, recognise
from harmoniad.data.sets import DATA_DIR, layout_of
from harmoniad.errors import HarmoniadError
from harmoniad.files import write_bytes


def export(data_set: str, file: Path | None = None) -> str:
    """Write the manifest of a data set.

    Args:
        data_set: Its name in `data/`, or a folder elsewhere.
        file: Ends in `.csv` or `.jsonl`; by default the name of the data set with `.csv`, here.

    Returns:
        A line for the user.

    Raises:
        HarmoniadError: There is no such data set, it holds no image, or the file has another suffix.
    """
    root = DATA_DIR / data_set
    is_elsewhere = Path(data_set).is_dir() and (len(Path(data_set).parts) > 1 or not root.is_dir())
    records = _read_elsewhere(Path(data_set)) if is_elsewhere else _read(root)
    file = file or Path(f"{Path(data_set).resolve().name}.csv")
    if file.suffix.lower() not in manifest.SUFFIXES:
        raise HarmoniadError(f"{file}: must end in {' or '.join(manifest.SUFFIXES)}.")
    write_bytes(file, manifest.write(records, file))
    categories = len({record.category for record in records})
    return (
        f"{file}: {len(records)} images of {categories} {'category' if categories == 1 else 'categories'}; "
        f"`harmoniad data add {file} --name NAME` takes it in."
    )


def _read(root: Path) -> list[Record]:
    layout = layout_of(root)
    records = list(layout.read(root))
    if not records:
        raise HarmoniadError(f"{root.as_posix()}: holds no images. Expected {layout.EXPECTED}.")
    return records


def _read_elsewhere(root: Path) -> list[Record]:
    found = recognise(root)
    records = list(
        found.layout.read(root.parent, root.resolve().name) if found.single_category else found.layout.read(root)
    )
    if not records:
        raise HarmoniadError(f"{root.as_posix()}: holds no images. Expected {found.layout.EXPECTED}.")
    return records
