"""The days as a table, and the champion's quality as a plot."""

import csv
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.plant.checks import Check
from benchmarks.plant.record import Record
from benchmarks.plant.timing import STAGES
from harmoniad.files import replacing, write_bytes

HEADS = ["day", "what happens", "in", "quar.", "drift", "version", "gate", "before", "after"]
HEADS += [*(f"{stage} s" for stage in STAGES), "DVC s", "Prefect s", "wall s", "CPU s", "runs"]


def line(record: Record) -> str:
    """A day in a line, while the play goes on."""
    what = "; ".join([*record.events, *record.troubles]) or "as always"
    gate = f"version {record.version} {record.gate}" if record.version else "no model"
    return f"day {record.day}: {what} | {'; '.join(record.drift)} | {gate} | {record.seconds['wall']:.0f} s"


def cells(record: Record) -> list[str]:
    """A row of the table."""
    took = record.seconds
    stages = [took["stages"].get(stage) for stage in STAGES]
    return [
        str(record.day),
        "; ".join(record.events),
        str(record.images),
        str(record.quarantined),
        "; ".join(record.drift) or "–",
        "–" if record.version is None else str(record.version),
        record.gate or "–",
        _figure(record.before),
        _figure(record.after if record.before is not None else record.quality),
        *("–" if seconds is None else f"{seconds:.1f}" for seconds in stages),
        *(f"{took[name]:.1f}" for name in ("dvc", "flow", "wall", "cpu")),
        str(record.runs),
    ]


def write(out: Path, records: Sequence[Record], checks: Sequence[Check], seconds: float) -> None:
    """Write `month.md`, `month.csv` and `month.png`."""
    rows = [cells(record) for record in records]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*HEADS, "reasons", "drift reasons", "troubles"])
    for record, row in zip(records, rows, strict=True):
        more = (record.reasons, record.reasons_of_drift, record.troubles)
        writer.writerow([*row, *("; ".join(each) for each in more)])
    write_bytes(out / "month.csv", text.getvalue().encode())
    table = [_row(HEADS), _row(["---"] * len(HEADS)), *map(_row, rows)]
    troubles = [f"- day {record.day}: {told}" for record in records for told in record.troubles]
    found = [f"- {'ok' if check.passed else 'NOT OK'}: {check.name} ({check.found})" for check in checks]
    parts = [*table, "", "What went wrong on purpose:", "", *troubles, "", "At the end:", "", *found, ""]
    parts.append(f"{seconds / 60:.1f} minutes since the last start.\n")
    write_bytes(out / "month.md", "\n".join(parts).encode())
    write_plot(out / "month.png", records)


def write_plot(path: Path, records: Sequence[Record]) -> None:
    """Draw the champion's image AUROC by day, promotions, refusals and the events."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    events, axis = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 3]})
    days = [record.day for record in records]
    axis.plot(days, _values(records, "quality"), color="#0072b2", label="champion of the evening")
    axis.plot(days, _values(records, "before"), "o", color="#999999", markersize=3, label="champion of the morning")
    marks = {"promoted": ("^", "#009e73", "promoted"), "kept": ("x", "#d55e00", "challenger refused by the gate")}
    for gate, (marker, colour, label) in marks.items():
        those = [record for record in records if record.gate == gate and record.quality is not None]
        axis.plot([r.day for r in those], [r.quality for r in those], marker, color=colour, label=label, linestyle="")
    for record in records:
        told = "; ".join([*record.events, *["drift, accepted"] * ("drift, accepted" in record.drift)])
        if told:
            axis.axvline(record.day, color="#dddddd", linewidth=0.8, zorder=0)
            text = "\n".join(textwrap.wrap(told, 36))
            look = {"rotation": 90, "fontsize": 7, "ha": "center", "va": "bottom", "parse_math": False}
            events.text(record.day, 0.0, text, **look)
    events.axis("off")
    axis.set_xticks(days)
    axis.set_xlabel("day")
    axis.set_ylabel("mean image AUROC on the test images of the day")
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _values(records: Sequence[Record], name: str) -> list[Any]:
    return [float("nan") if getattr(record, name) is None else getattr(record, name) for record in records]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
