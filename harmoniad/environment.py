"""Environment variables that keep every library offline and silent.

They must be set before the libraries are imported, so the command line and `flows` call `keep_quiet` first.
A value that the user has set is left alone.
"""

import os
from pathlib import Path

STATE_DIR = Path(".harmoniad")  # caches, checkpoints and the local Prefect server's home, all of it git-ignored

_QUIET = {
    "DO_NOT_TRACK": "true",  # MLflow does not read "1"
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",  # otherwise a missing file costs 47 s of retries; `harmoniad weights fetch` lifts it
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_VERBOSITY": "error",  # no line a retry: the last error says it all
    # A first start migrates Prefect's database, which takes longer than the default allowance of 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def keep_quiet(project: Path | None = None) -> None:
    """Turn analytics and downloads off and keep Prefect's home inside the project.

    Args:
        project: The project folder; the current folder by default.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    home = (project or Path.cwd()) / STATE_DIR / "prefect"
    os.environ.setdefault("PREFECT_HOME", str(home))
