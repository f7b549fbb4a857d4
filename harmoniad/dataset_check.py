"""`harmoniad data check`: what `data add`, `prepare` and `validate` would say of a folder of images, adding nothing."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.data.checks import category_table
from harmoniad.data.layouts import Recognised, Record, recognise
from harmoniad.data.layouts.manifest import SUFFIXES
from harmoniad.data.layouts.record import is_image_name, sub_folders
from harmoniad.data.manifest import as_table, fingerprint
from harmoniad.data.measure import files_of
from harmoniad.data.near_duplicates import near_duplicates
from harmoniad.data.reference import MEASURES
from harmoniad.data.sets import DATA_SET_FILE, layout_name_of, regular_files
from harmoniad.data.validation import Outcome
from harmoniad.errors import HarmoniadError
from harmoniad.files import replacing_folder, write_bytes, write_json
from harmoniad.params import Params, Severities, Validate
from harmoniad.report.dataset_page import write_dataset_page
from harmoniad.stages.prepare import rows_of
from harmoniad.stages.validate import check_manifest, report_of, tell_failures

if TYPE_CHECKING:
    import pandas as pd

PAGE, REPORT, DATA_DOCS = "index.html", "report.json", "data_docs"
MANIFEST, FLAGGED, NEAR_DUPLICATES = "manifest.csv", "flagged.csv", "near_duplicates.csv"


@dataclass(frozen=True)
class Checked:
    """What came of a check."""

    lines: list[str]
    """For the user: what was seen, a line for each check that failed, notes, and where the page lies."""
    stops: int
    """How many findings would stop the pipeline."""
    page: Path


def check(source: Path, params: Params, layout: str | None = None, out: Path | None = None) -> Checked:
    """Scan a data set and validate it; write page, manifest, report and Data Docs to a folder and nothing elsewhere.

    Paths in what is written are relative to the folder of categories.

    Args:
        source: A folder of categories, one category or a manifest.
        params: Splits and checks are those of the pipeline, except for the comparison with an accepted version.
        layout: A key of `LAYOUTS`; found out by default.
        out: The folder that is written, by default `check-NAME`; one of an earlier check is replaced.

    Raises:
        HarmoniadError: The folder is missing, has no known layout or holds no image, or `out` holds other files.
    """
    source = _as_in_the_project(source)
    name = source.stem if source.is_file() else source.name
    out = out or Path(f"check-{name}")
    _check_folders(source, out)
    found = _recognise(source, layout)
    root = source.parent if found.single_category or source.is_file() else source
    records = list(found.layout.read(root, source.name) if found.single_category else found.layout.read(source))
    if not records:
        raise HarmoniadError(f"{source}: holds no images. Expected {found.layout.EXPECTED}.")
    notes = _notes(source, records)
    manifest = _manifest(records, root, name, params)
    categories = _categories(source, found, manifest)
    del records  # 100,000 of them are large, and the validation is, too
    near = near_duplicates(manifest, params.validate_.near_duplicate_distance)
    with replacing_folder(out) as folder:
        outcomes = check_manifest(
            manifest, categories, near, None, _without_drift(params.validate_), folder / DATA_DOCS
        )
        warnings, errors = tell_failures([name], manifest, outcomes)
        _write_tables(folder, name, manifest, near, outcomes)
        facts = {"Folder": str(source.absolute()), "Layout": found.name, "Data fingerprint": fingerprint(manifest)}
        names = list(categories["category"])
        write_dataset_page(folder / PAGE, name, facts, root, manifest, names, near, outcomes, errors, notes)
    lines = [
        _summary(name, found.name, manifest),
        *(f"error: {error}" for error in errors),
        *(f"warning: {warning}" for warning in warnings),
        *(f"note: {note}" for note in notes),
        f"page: {(out / PAGE).as_posix()} (beside it {MANIFEST}, {FLAGGED}, {REPORT} and {DATA_DOCS}/index.html)",
    ]
    return Checked(lines, len(errors), out / PAGE)


def _as_in_the_project(source: Path) -> Path:
    """Relative in the current folder, as for the pipeline, which then finds what was scanned; absolute elsewhere."""
    path = Path(os.path.abspath(source))  # noqa: PTH100 - unlike resolve, it keeps the name of a link
    inside = path != Path.cwd() and path.is_relative_to(Path.cwd())
    return path.relative_to(Path.cwd()) if inside else path


def _check_folders(source: Path, out: Path) -> None:
    if not source.exists():
        raise HarmoniadError(f"{source}: no such folder.")
    if source.is_file() and source.suffix.lower() not in SUFFIXES:
        raise HarmoniadError(f"{source}: is neither a folder nor a manifest ({' or '.join(SUFFIXES)}).")
    if out.resolve().is_relative_to(source.resolve()):
        raise HarmoniadError(f"{out}: lies in the data set. Give another folder with --out.")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / FLAGGED).is_file()):
        raise HarmoniadError(f"{out}: exists and is not an earlier check. Give another folder with --out.")


def _recognise(source: Path, layout: str | None) -> Recognised:
    """As the `dataset.json` of a set that was added says, otherwise as the folders look."""
    if layout is None and (source / DATA_SET_FILE).is_file():
        return Recognised(layout_name_of(source), single_category=False)
    return recognise(source, layout)


def _notes(source: Path, records: Sequence[Record]) -> list[str]:
    """What no check of the manifest can see, because it is not in the manifest."""
    if source.is_file():
        return []
    used = {file for record in records for file in files_of(record)}
    try:
        others = [path for path in regular_files(source) if is_image_name(path.name) and path not in used]
    except HarmoniadError as error:
        return [f"`harmoniad data add` will refuse this: {error}"]
    if not others:
        return []
    many = "1 image file has" if len(others) == 1 else f"{len(others)} image files have"
    return [f"{many} no place in the layout, such as {others[0].relative_to(source).as_posix()}."]


def _manifest(records: Sequence[Record], root: Path, name: str, params: Params) -> "pd.DataFrame":
    manifest = as_table(rows_of(records, name, params.prepare, "check"))
    prefix = f"{root.as_posix().rstrip('/')}/"
    manifest["path"] = manifest["path"].str.removeprefix(prefix)
    for column in ("mask", "problem"):  # a name is in them more than once
        manifest[column] = manifest[column].str.replace(prefix, "", regex=False)
    return manifest


def _categories(source: Path, found: Recognised, manifest: "pd.DataFrame") -> "pd.DataFrame":
    """The table of categories, also of those whose folder holds no image at all."""
    import pandas as pd

    table = category_table(manifest).assign(path=lambda rows: rows["category"])
    if found.single_category or source.is_file():
        return table
    folders = {folder.name for folder in sub_folders(source) if found.layout.is_category(folder)}
    empty = [{"category": name, "path": name, "train_images": 0} for name in sorted(folders - set(table["category"]))]
    return pd.concat([table, pd.DataFrame(empty)], ignore_index=True) if empty else table


def _without_drift(params: Validate) -> Validate:
    """There is no accepted version of this data with which brightness and sharpness could be compared."""
    severity = params.severity.model_dump() | dict.fromkeys(MEASURES, "off")
    return params.model_copy(update={"severity": Severities(**severity)})


def _write_tables(
    folder: Path, name: str, manifest: "pd.DataFrame", near: "pd.DataFrame", outcomes: Sequence[Outcome]
) -> None:
    import pandas as pd

    flagged = [
        (outcome.name, outcome.severity, path, reason)
        for outcome in outcomes
        for path, reason in outcome.failures.items()
    ]
    columns = ["check", "severity", "path", "reason"]
    _write_csv(folder / MANIFEST, manifest)
    _write_csv(folder / FLAGGED, pd.DataFrame(flagged, columns=columns))
    _write_csv(folder / NEAR_DUPLICATES, near)
    write_json(folder / REPORT, report_of([name], manifest, list(outcomes)))


def _write_csv(path: Path, table: "pd.DataFrame") -> None:
    write_bytes(path, table.to_csv(index=False, lineterminator="\n").encode())


def _summary(name: str, layout: str, manifest: "pd.DataFrame") -> str:
    count = manifest["split"].value_counts()
    defects = int((manifest["label"] == "defect").sum())
    return (
        f"check: {name} (layout {layout}): {len(manifest)} images, {defects} of them with defects, in "
        f"{manifest['category'].nunique()} categories; {count.get('train', 0)} train, {count.get('held_out', 0)} held "
        f"out, {count.get('test', 0)} test; data {fingerprint(manifest)}"
    )
