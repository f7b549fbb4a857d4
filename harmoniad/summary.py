"""What the last run of the pipeline gave, for the end of `make demo`."""

from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json
from harmoniad.params import Params
from harmoniad.report.tables import metrics_table
from harmoniad.stages import register
from harmoniad.stages.evaluate import HEATMAPS_DIR, METRICS_FILE, REPORT_FILE
from harmoniad.tracking.store import ui_command
from harmoniad.tracking.versions import list_versions


def summarise(params: Params) -> str:
    """Metrics, the registered version and its aliases, the heat maps, and the command that opens MLflow.

    Fills an empty registry first: DVC cannot see that a registry on a server was emptied.

    Raises:
        HarmoniadError: The pipeline has not run.
    """
    metrics = read_json(METRICS_FILE)
    versions = list_versions(params)
    if not versions:
        register.run(params)
        versions = list_versions(params)
    name = params.register_.model_name
    ours = [found for found in versions if found.data_fingerprint == metrics["data_fingerprint"]]
    if not ours:
        raise HarmoniadError("the last result is not registered: run `dvc repro`.")
    lines = [
        metrics_table(metrics),
        "",
        *(f"model      {name} version {found.version}  {' '.join(f'@{a}' for a in found.aliases)}" for found in ours),
        f"heat maps  {HEATMAPS_DIR.as_posix()}/",
        f"report     {REPORT_FILE.as_posix()}",
        f"MLflow     {ui_command()}",
    ]
    return "\n".join(lines)
