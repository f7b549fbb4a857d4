"""The model at work, and the next one: when the alias moves, the new version is loaded while the old one serves."""

import logging
import threading
import time
from typing import TYPE_CHECKING

from harmoniad.errors import HarmoniadError
from harmoniad.serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from harmoniad.inspector import Inspector

LOGGER = logging.getLogger("harmoniad.serving")
_RETRY_SECONDS = 60  # after a version that could not be loaded


class CurrentModel:
    """Loads the model and follows its alias, in a thread of its own.

    Args:
        settings: Which model, and how often the registry is asked.
        on_reload: Is told `loaded` or `failed`.
    """

    def __init__(self, settings: Settings, on_reload: "Callable[[str], object]" = lambda outcome: None) -> None:
        self._settings, self._on_reload = settings, on_reload
        self._inspector: Inspector | None = None
        self._stop = threading.Event()
        self._failed: tuple[int | None, float] = (None, 0.0)
        self._last_problem = ""
        self._thread: threading.Thread | None = None

    @property
    def is_ready(self) -> bool:
        """Whether there is a model."""
        return self._inspector is not None

    @property
    def label(self) -> tuple[str, str]:
        """Name and version of the model, for people and Prometheus."""
        origin = self._inspector.origin if self._inspector is not None else None
        if origin is None:
            return "", ""
        return origin.name, "" if origin.version is None else str(origin.version)

    def inspector(self) -> "Inspector":
        """The model at work; there must be one."""
        if self._inspector is None:
            raise RuntimeError("no model is loaded")
        return self._inspector

    def load(self) -> None:
        """Load the model.

        Raises:
            HarmoniadError: It is not there, or its files are missing or changed.
        """
        from harmoniad.loading import load

        self._inspector = load(self._settings.model, self._settings.device, self._settings.precision)

    def follow(self) -> None:
        """Start to watch the alias; a folder is not watched."""
        if self._inspector is None or self._inspector.origin is None or self._inspector.origin.version is None:
            return
        self._thread = threading.Thread(target=self._watch, name="registry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._settings.poll_seconds):
            self.poll()

    def poll(self) -> None:
        """Ask the registry once, and take the new version if the alias has moved and it can be loaded."""
        from harmoniad.loading import wanted_version

        version: int | None = None
        try:
            version = wanted_version(self._settings.model)
            origin = self.inspector().origin
            if origin is not None and version == origin.version:
                self._last_problem = ""
                return
            if version == self._failed[0] and time.monotonic() < self._failed[1]:
                return
            self.load()
        except Exception as error:  # whatever is wrong with the new one, the old one goes on
            self._failed = (version, time.monotonic() + _RETRY_SECONDS)
            self._tell(error, version)
            return
        self._last_problem = ""
        self._on_reload("loaded")
        LOGGER.info("now serving %s", self.label[0])

    def _tell(self, error: Exception, version: int | None) -> None:
        problem = str(error) if isinstance(error, HarmoniadError) else f"{type(error).__name__}: {error}"
        if problem == self._last_problem:
            return
        self._last_problem = problem
        what = "the registry cannot be asked" if version is None else f"version {version} cannot be loaded"
        LOGGER.error("%s, %s goes on: %s", what, self.label[0], " ".join(problem.split()))
        self._on_reload("failed")
