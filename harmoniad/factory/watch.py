"""When new images in the inbox are all there: nothing has changed for a while.

The inbox is listed again and again. The system's own notices of changed files would not do: there are none for what
another machine writes to a network share (NFS, SMB), which is how cameras and rsync often deliver.
"""

import time
from collections.abc import Callable

from harmoniad.factory.inbox import listing


class InboxWatch:
    """Says once for each delivery that it is complete.

    Args:
        quiet_seconds: How long nothing may change.
        clock: Seconds that only grow.
    """

    def __init__(self, quiet_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet_seconds, self._clock = quiet_seconds, clock
        self._last, self._since = listing(), clock()
        self._told: frozenset[tuple[str, int, int]] = frozenset()

    def look(self) -> int:
        """The number of files that are new since it last gave a number, if all is quiet; otherwise 0.

        What a retraining left in the inbox is not new.
        """
        files, now = listing(), self._clock()
        if files != self._last:
            self._last, self._since = files, now
        new = files - self._told
        if not new or now - self._since < self._quiet_seconds:
            return 0
        self._told = files
        return len(new)

    def forget(self) -> None:
        """Give the same files again, because nobody could be told."""
        self._told = frozenset()
