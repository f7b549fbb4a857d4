"""When the pipeline runs and what is seen of it. What runs is written in `dvc.yaml`, which needs none of this."""

import os
from pathlib import Path

from harmoniad.environment import keep_quiet

# Prefect reads its settings when it is imported, and warns if its home has no parent folder.
keep_quiet()
Path(os.environ["PREFECT_HOME"]).parent.mkdir(parents=True, exist_ok=True)
