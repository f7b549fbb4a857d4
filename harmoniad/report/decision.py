"""The gate's decision as a part of the report."""

from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.errors import HarmoniadError
from harmoniad.files import write_bytes
from harmoniad.report.page import template

if TYPE_CHECKING:
    from harmoniad.tracking.gate import Decision

PLACE = "<!-- decision of the gate -->"
"""Where it goes, once in the report that the evaluate stage writes."""


def write_report_with(decision: "Decision", version: str, champion: str | None, *, source: Path, target: Path) -> None:
    """Write the report with the decision in it.

    Args:
        decision: What the gate decided.
        version: The challenger's number.
        champion: The number of the version that it was compared with, None if there was none.
        source: The report without it, as the evaluate stage left it.
        target: Where the report goes.

    Raises:
        HarmoniadError: `source` is of another version of harmoniad, or the disk is full.
    """
    page = source.read_text(encoding="utf-8")
    if PLACE not in page:
        raise HarmoniadError(f"{source.as_posix()}: made by another version of harmoniad. Run `dvc repro -f evaluate`.")
    part = template("decision.html").render(decision=decision, version=version, champion=champion)
    write_bytes(target, page.replace(PLACE, part, 1).encode())
