"""The leaderboard as an HTML page, as a table in the terminal and as CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmoniad.files import write_bytes
from harmoniad.leaderboard.figures import COSTS, Board, Row
from harmoniad.leaderboard.plot import accuracy_against_time
from harmoniad.metrics.intervals import Estimate
from harmoniad.report.page import template
from harmoniad.report.text import columns, one_line, padded

PAGE, TABLE = "index.html", "leaderboard.csv"


def write_pages(folder: Path, boards: Sequence[Board], command: str) -> Path:
    """Write the page and the CSV.

    Returns:
        The page.

    Raises:
        HarmoniadError: The disk is full.
    """
    page = template("leaderboard.html").render(
        boards=[(board, accuracy_against_time(board)) for board in boards],
        command=command,
        costs=COSTS,
        interval=interval,
        mean_and_spread=mean_and_spread,
        cost=cost,
    )
    write_bytes(folder / PAGE, page.encode())
    write_bytes(folder / TABLE, _csv(boards).encode())
    return folder / PAGE


def terminal_table(board: Board) -> str:
    """The board for a terminal: a row a detector."""
    names = {"overall": "image AUROC", **{group: group for group in board.groups}}
    heads = ["", "detector", *names.values(), *board.main_figures.values(), "train s", "ms/image"]
    lines = [heads]
    for rank, row in enumerate(board.rows, start=1):
        if row.problem:
            lines.append(["–", row.detector, one_line(row.problem)])
            continue
        estimates = [row.overall, *(row.groups.get(group) for group in board.groups)]
        found = [mean_and_spread(row, name) for name in board.main_figures]
        costs = [cost(row, "train_seconds"), cost(row, "milliseconds")]
        lines.append([str(rank), row.detector, *(interval(estimate) for estimate in estimates), *found, *costs])
    full = [line for line in lines if len(line) == len(heads)]
    widths = [max(columns(line[place]) for line in full) for place in range(len(heads))]
    return "\n".join(
        "  ".join(padded(cell, width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines
    )


def interval(estimate: Estimate | None) -> str:
    """Such as `0.913 [0.880, 0.941]`; a dash where there is no figure."""
    if estimate is None:
        return "–"
    return f"{estimate.estimate:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def mean_and_spread(row: Row, name: str) -> str:
    """Such as `0.913 ± 0.004`; without the second after one seed, and a dash where there is no figure."""
    if name not in row.figures:
        return "–"
    spread = f" ± {row.spread[name]:.3f}" if name in row.spread else ""
    return f"{row.figures[name]:.3f}{spread}"


def cost(row: Row, name: str) -> str:
    """One of `COSTS`."""
    if name not in row.figures:
        return "–"
    return f"{row.figures[name]:.{0 if name == 'peak_memory_mb' else 1}f}"


def _csv(boards: Sequence[Board]) -> str:
    import pandas as pd

    rows = [
        {
            **_provenance(board),
            "detector": row.detector,
            "seeds": " ".join(map(str, row.seeds)),
            "problem": one_line(row.problem),
            "part": part,
            "image_auroc_low": estimate.low if estimate else None,
            "image_auroc_high": estimate.high if estimate else None,
            **({"image_auroc": estimate.estimate} if estimate else {}),
            **_spread_out(row, part),
        }
        for board in boards
        for row in board.rows
        for part, estimate in _parts(row)
    ]
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _provenance(board: Board) -> dict[str, Any]:
    return {
        "data_set": board.data_set,
        "data_fingerprint": board.fingerprint,
        "test_fingerprint": board.test_fingerprint,
        **board.measured_with,
    }


def _parts(row: Row) -> list[tuple[str, Estimate | None]]:
    groups = [(f"defects: {name}", estimate) for name, estimate in row.groups.items()]
    return [("mean", row.overall), *groups, *((f"category: {n}", estimate) for n, estimate in row.categories.items())]


def _spread_out(row: Row, part: str) -> dict[str, float]:
    """Mean and standard deviation of everything, for the row of the mean alone."""
    if part != "mean":
        return {}
    rest = {name: value for name, value in row.figures.items() if name != "image_auroc"}
    return rest | {f"{name}_std": value for name, value in row.spread.items()}
