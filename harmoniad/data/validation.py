"""Running checks with Great Expectations: what failed and in which files, and the Data Docs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.data.checks import Check
from harmoniad.files import replacing_folder

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.data_context import AbstractDataContext

_SITE = "data_docs"


@dataclass(frozen=True)
class Table:
    """A table and the checks of its rows, which the column `path` names."""

    name: str
    rows: "pd.DataFrame"
    checks: Sequence[Check]


@dataclass(frozen=True)
class Outcome:
    """What came of one check."""

    name: str
    meaning: str
    severity: str
    """`error` or `warning`."""
    failures: dict[str, str]
    """The reason, which may be empty, for each path that failed."""

    @property
    def success(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def tell(self, limit: int) -> str:
        """The check's name and the first files that failed, in a line."""
        files = [f"{path} ({reason})" if reason else path for path, reason in list(self.failures.items())[:limit]]
        left = len(self.failures) - limit
        return f"{self.name}: {', '.join(files)}{f' (+{left} more)' if left > 0 else ''}"


def validate(tables: Sequence[Table], severities: Mapping[str, str], version: str, docs: Path) -> list[Outcome]:
    """Run all checks that are not `off` and write the Data Docs, whether the checks fail or not.

    Args:
        tables: What is checked.
        severities: `error`, `warning` or `off` for the name of each check.
        version: The name of the run in the Data Docs.
        docs: The folder of the static site, which is replaced; it opens with `index.html`.

    Returns:
        The outcomes in the order of the checks.
    """
    outcomes = []
    with replacing_folder(docs) as site:
        context = _context(site)
        for table in tables:
            checks = [check for check in table.checks if severities[check.name] != "off"]
            outcomes += _run(context, version, table, checks, severities)
        _link_pages(site)
    return outcomes


def _context(site: Path) -> "AbstractDataContext":
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.add_data_docs_site(
        _SITE,
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,  # type: ignore[typeddict-unknown-key]
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(site.absolute()),
            },
        },
    )
    return context


def _link_pages(site: Path) -> None:
    """Add plain links to the index, whose own table is made by scripts from the internet: a plant may have none."""
    index = site / "index.html"
    pages = sorted(page.relative_to(site).as_posix() for page in site.glob("validations/**/*.html"))
    links = "".join(f'<li><a href="{page}">{page.split("/")[1]}</a></li>' for page in pages)
    text = index.read_text(encoding="utf-8")
    index.write_text(text.replace("</body>", f"<p>Results:</p><ul>{links}</ul></body>"), encoding="utf-8")


def _run(
    context: "AbstractDataContext", version: str, table: Table, checks: Sequence[Check], severities: Mapping[str, str]
) -> list[Outcome]:
    import great_expectations as gx
    from great_expectations.checkpoint import UpdateDataDocsAction
    from great_expectations.core import RunIdentifier
    from great_expectations.expectations.metadata_types import FailureSeverity

    suite = context.suites.add(gx.ExpectationSuite(name=table.name))
    for number, check in enumerate(checks):
        is_error = severities[check.name] == "error"
        check.expectation.severity = FailureSeverity.CRITICAL if is_error else FailureSeverity.WARNING
        check.expectation.meta = {"check": number}
        suite.add_expectation(check.expectation)
    asset = context.data_sources.add_pandas(table.name).add_dataframe_asset(table.name)
    batch = asset.add_batch_definition_whole_dataframe(table.name)
    definition = gx.ValidationDefinition(name=table.name, data=batch, suite=suite)
    checkpoint = gx.Checkpoint(
        name=table.name,
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[UpdateDataDocsAction(name=_SITE, site_names=[_SITE])],
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["path"]},
    )
    # With no time given, Great Expectations reads the name as one, and fails where the version is all decimal digits.
    run_id = RunIdentifier(run_name=version, run_time=datetime.now(UTC))
    run = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table.rows}, run_id=run_id)
    (validation,) = run.run_results.values()
    results: list[dict[str, Any]] = [result.to_json_dict() for result in validation.results]
    results.sort(key=lambda result: result["expectation_config"]["meta"]["check"])
    rows = table.rows.set_index("path")
    return [
        _outcome(check, severities[check.name], result, rows) for check, result in zip(checks, results, strict=True)
    ]


def _outcome(check: Check, severity: str, result: dict[str, Any], rows: "pd.DataFrame") -> Outcome:
    paths = [entry["path"] for entry in result["result"].get("unexpected_index_list") or []]
    if not result["success"] and not paths:
        raise RuntimeError(f"Great Expectations could not check {check.name}: {result['exception_info']}")
    failures = {path: check.reason(rows.loc[path]) for path in paths}
    return Outcome(check.name, str(check.expectation.notes), severity, failures)
