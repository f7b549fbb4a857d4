"""The champion at work on new images, and what it was measured on."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json
from harmoniad.params import Params
from harmoniad.tracking import store
from harmoniad.tracking.results import SCORES_FILE, THRESHOLD_FILE
from harmoniad.tracking.versions import CHAMPION

if TYPE_CHECKING:
    import pandas as pd

    from harmoniad.models.storage import TrainedModel
    from harmoniad.scoring import Threshold


@dataclass(frozen=True)
class Champion:
    """The model in production.

    Attributes:
        version: Of the registered model.
        model: The detector with its encoder.
        threshold: How its maps become scores, and above which a part is flagged.
        measured_on: The good images that it was measured on and has not learned from: `path`, `category`, `score`.
    """

    version: int
    model: "TrainedModel"
    threshold: "Threshold"
    measured_on: "pd.DataFrame"


class NoChampionError(HarmoniadError):
    """There is none yet."""


@contextmanager
def champion(params: Params) -> Iterator[Champion]:
    """Load the champion from MLflow.

    Raises:
        NoChampionError: No version has the alias.
        HarmoniadError: MLflow does not answer, or the champion's files are missing.
    """
    name = params.register_.model_name
    if store.is_local() and not store.DATABASE.is_file():
        raise NoChampionError("there is no champion yet")
    with tempfile.TemporaryDirectory(prefix="harmoniad-") as temporary:
        with store.connect() as client:
            models = client.search_registered_models(f"name = '{name}'")
            version = models[0].aliases.get(CHAMPION) if models else None
            if version is None:
                raise NoChampionError("there is no champion yet")
            import mlflow

            run_id = str(client.get_model_version(name, str(version)).run_id)
            try:
                mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=temporary)
                client.download_artifacts(run_id, SCORES_FILE.name, temporary)
            except OSError as error:
                raise HarmoniadError(f"the files of {name} version {version} cannot be fetched: {error}") from error
        yield _load(int(version), Path(temporary), params)


def _load(version: int, folder: Path, params: Params) -> Champion:
    import pandas as pd

    from harmoniad.features.encoders import choose_device
    from harmoniad.models.storage import load_model
    from harmoniad.scoring import Threshold

    model = next(folder.rglob(THRESHOLD_FILE.name)).parent
    names = {"path": "str", "category": "str"}  # a category may be called 007
    scores = pd.read_csv(folder / SCORES_FILE.name, dtype=names, keep_default_na=False)
    good = scores[(scores["label"] == "good") & scores["split"].isin(["held_out", "test"])]
    return Champion(
        version,
        load_model(model, choose_device(params.device)),
        Threshold.from_dict(read_json(model / THRESHOLD_FILE.name)),
        good[["path", "category", "score"]].reset_index(drop=True),
    )
