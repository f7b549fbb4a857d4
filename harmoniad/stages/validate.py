"""The validate stage: nothing is trained on data that does not pass."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.data import reference
from harmoniad.data.checks import category_checks, category_table, image_checks, image_table
from harmoniad.data.manifest import fingerprint, read_manifest, usable
from harmoniad.data.near_duplicates import near_duplicates
from harmoniad.data.validation import Outcome, Table, validate
from harmoniad.errors import HarmoniadError
from harmoniad.files import write_bytes, write_json
from harmoniad.params import Params, Validate

if TYPE_CHECKING:
    import pandas as pd

OUTPUT = Path("results/validate")
DATA_DOCS = OUTPUT / "data_docs"
REPORT = OUTPUT / "report.json"
NEAR_DUPLICATES = OUTPUT / "near_duplicates.csv"
REFERENCE = OUTPUT / "reference.json"

FILES_IN_MESSAGE, FILES_IN_REPORT = 3, 20


def run(params: Params) -> str:
    """Check the manifests of all data sets; print warnings, and write Data Docs and report in any case.

    Raises:
        HarmoniadError: An expectation of severity `error` failed; the message names the files.
    """
    manifest = read_manifest(params.data.sets)
    before = reference.version_before(REFERENCE, manifest)
    near = near_duplicates(manifest, params.validate_.near_duplicate_distance)
    outcomes = check_manifest(manifest, category_table(manifest), near, before, params.validate_, DATA_DOCS)
    write_bytes(NEAR_DUPLICATES, near.to_csv(index=False, lineterminator="\n").encode())
    write_json(REPORT, report_of(params.data.sets, manifest, outcomes))
    warnings, errors = tell_failures(params.data.sets, manifest, outcomes)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if errors:
        raise HarmoniadError(f"validation failed: {'; '.join(errors)}. See {DATA_DOCS.as_posix()}/index.html")
    reference.accept(REFERENCE, manifest, before)
    return (
        f"validate: {len(manifest)} images pass {len(outcomes) - len(warnings)} of {len(outcomes)} expectations, "
        f"{len(warnings)} {'warning' if len(warnings) == 1 else 'warnings'}"
    )


def check_manifest(
    manifest: "pd.DataFrame",
    categories: "pd.DataFrame",
    near: "pd.DataFrame",
    before: reference.Version | None,
    params: Validate,
    docs: Path,
) -> list[Outcome]:
    """Run all checks that are not `off` on a manifest and write the Data Docs.

    Args:
        manifest: See `harmoniad.data.manifest`.
        categories: See `category_table`.
        near: See `near_duplicates`.
        before: The version of the data that brightness and sharpness are compared with.
        params: The section `validate` of params.yaml.
        docs: The folder of the Data Docs.
    """
    tables = [
        Table("images", image_table(manifest, near, before, params), image_checks(params)),
        Table("categories", categories, category_checks(params)),
    ]
    return validate(tables, params.severity.model_dump(), fingerprint(manifest), docs)


def tell_failures(
    data_sets: list[str], manifest: "pd.DataFrame", outcomes: list[Outcome]
) -> tuple[list[str], list[str]]:
    """A line for each check that failed: the warnings and the errors."""
    failed = [outcome for outcome in outcomes if not outcome.success]
    warnings = [outcome.tell(FILES_IN_MESSAGE) for outcome in failed if outcome.severity == "warning"]
    errors = [outcome.tell(FILES_IN_MESSAGE) for outcome in failed if outcome.severity == "error"]
    if not (usable(manifest)["split"] == "train").any():
        errors.append(f"no image to train on in {', '.join(data_sets)}")  # whatever the severities are
    return warnings, errors


def report_of(data_sets: list[str], manifest: "pd.DataFrame", outcomes: list[Outcome]) -> dict[str, object]:
    """The content of `report.json`."""
    return {
        "success": all(outcome.success or outcome.severity == "warning" for outcome in outcomes),
        "data_sets": sorted(set(data_sets)),
        "data_fingerprint": fingerprint(manifest),
        "images": _count(manifest),
        "categories": {str(category): _count(rows) for category, rows in manifest.groupby("category")},
        "expectations": [
            {
                "name": outcome.name,
                "meaning": outcome.meaning,
                "severity": outcome.severity,
                "success": outcome.success,
                "unexpected": len(outcome.failures),
                "files": dict(list(outcome.failures.items())[:FILES_IN_REPORT]),
            }
            for outcome in outcomes
        ],
    }


def _count(rows: "pd.DataFrame") -> dict[str, int]:
    test = rows["split"] == "test"
    return {
        "train": int((rows["split"] == "train").sum()),
        "held_out": int((rows["split"] == "held_out").sum()),
        "test_good": int((test & (rows["label"] == "good")).sum()),
        "test_defect": int((test & (rows["label"] == "defect")).sum()),
        "masks": int((rows["mask"] != "").sum()),
    }
