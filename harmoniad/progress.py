"""Progress with the rate and the time left: a bar on a terminal, a line every ten seconds in a log."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Count finished pieces of work.

    Args:
        label: What is being done, such as "encode".
        total: How many pieces there are.
        unit: What a piece is, in the plural, such as "images".
        done: How many an earlier, interrupted run has finished; they do not count for the rate.
    """

    def __init__(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done, self._initial, self._note = done, done, ""
        self._start = self._last_line = time.monotonic()
        show = sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, desc=label, unit=f" {unit}", leave=False) if show else None

    def advance(self, pieces: int = 1, note: str = "") -> None:
        """Add finished pieces; `note` is shown behind the figures, such as a loss."""
        self._done, self._note = self._done + pieces, note
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(pieces)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._print_line()

    def _print_line(self) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = (self._done - self._initial) / seconds
        left = tqdm.format_interval((self._total - self._done) / rate) if rate else "?"
        pace = f"{rate:.1f} {self._unit}/s" if rate >= 0.5 else f"{60 * rate:.1f} {self._unit}/min"
        note = f", {self._note}" if self._note else ""
        print(
            f"{self._label}: {self._done}/{self._total} {self._unit}, {pace}, {left} left{note}",
            file=sys.stderr,
            flush=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
