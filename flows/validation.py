"""From folders of images to validated manifests: the DVC stages `sample`, `prepare` and `validate`."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.stages import Limits, reproduce
from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json
from harmoniad.params import load_params

REPORT = Path("results/validate/report.json")
DATA_DOCS = Path("results/validate/data_docs/index.html")


@flow
def validation(limits: Limits | None = None) -> None:
    """Bring the data sets and their manifests up to date and check them.

    Args:
        limits: After how many minutes a stage is ended.
    """
    sets = load_params().data.sets
    if "sample" in sets:
        reproduce("sample", limits)
    tracked = [f"data/{name}.dvc" for name in sets if Path(f"data/{name}.dvc").exists()]
    if tracked:
        reproduce("data", limits, tracked)  # a folder that gained images is tracked anew
    reproduce("prepare", limits)
    try:
        reproduce("validate", limits)
    except HarmoniadError:
        _publish()  # it shows which expectation failed
        raise
    _publish()


def _publish() -> None:
    if REPORT.exists():
        columns = ("name", "meaning", "severity", "success", "unexpected")
        rows = [{column: found[column] for column in columns} for found in read_json(REPORT)["expectations"]]
        create_table_artifact(rows, key="expectations", description="What was expected of the data, and what failed")
    if DATA_DOCS.exists():
        create_link_artifact(DATA_DOCS.resolve().as_uri(), link_text=DATA_DOCS.as_posix(), key="data-docs")
