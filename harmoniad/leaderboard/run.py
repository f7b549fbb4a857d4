"""`harmoniad leaderboard`: measure what is missing, write the page, say what came out."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from harmoniad.errors import HarmoniadError
from harmoniad.leaderboard.entries import entries_of, read_data_set
from harmoniad.leaderboard.figures import boards_of
from harmoniad.leaderboard.page import terminal_table, write_pages
from harmoniad.models.designs import DETECTORS
from harmoniad.params import Params
from harmoniad.tracking.leaderboard import experiment_name
from harmoniad.tracking.store import ui_command


def run(
    params: Params,
    sets: Sequence[str] | None,
    detectors: Sequence[str] | None,
    seeds: Sequence[int],
    workers: int | None,
    out: Path,
) -> str:
    """Measure every detector on every data set with every seed, and compare them.

    Args:
        params: Everything but data sets, detector and seed.
        sets: Data sets in `data/`; None for those of the params.
        detectors: Their names; None for all.
        seeds: Of the training.
        workers: How many entries are measured at once; None for as many as cores.
        out: Folder for the page and the table.

    Returns:
        The tables, and where everything is.

    Raises:
        HarmoniadError: A data set or detector is unknown, an image cannot be encoded, or an entry crashed. What was
            measured is kept.
    """
    from flows.leaderboard import run as measure_all

    data_sets = [read_data_set(name, params) for name in dict.fromkeys(sets or params.data.sets)]
    entries = entries_of(data_sets, list(dict.fromkeys(detectors or DETECTORS)), list(dict.fromkeys(seeds)), params)
    results = measure_all(entries, workers or os.cpu_count() or 1)
    boards = boards_of(zip(entries, results, strict=True))
    page = write_pages(out, boards, shlex.join(["harmoniad", *sys.argv[1:]]))
    crashed = [entry.label for entry, result in zip(entries, results, strict=True) if result.get("crashed")]
    tables = "\n\n".join(f"{board.data_set}\n{terminal_table(board)}" for board in boards)
    told = (
        f"{tables}\n\npage: {page.as_posix()}; MLflow experiment `{experiment_name(params.register_.experiment)}`: "
        f"{ui_command()}"
    )
    if crashed:
        print(told)
        raise HarmoniadError(f"{len(crashed)} of {len(entries)} entries crashed: {', '.join(crashed)}. Run it again.")
    return told
