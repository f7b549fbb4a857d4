"""A registered model, loaded from its logged files: safetensors and JSON, checked against the digest in its tags."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json
from harmoniad.params import Params
from harmoniad.tracking.provenance import folder_digest
from harmoniad.tracking.results import MODEL_FILES

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

    from harmoniad.evaluation import Scored
    from harmoniad.models.storage import TrainedModel
    from harmoniad.scoring import Threshold

LOGGED_FOLDER = "artifacts/model"  # where pyfunc puts the folder that it is given as the artifact `model`


class UnusableModelError(HarmoniadError):
    """The files of a registered version are missing, changed, or those of another version of harmoniad."""


@dataclass(frozen=True)
class LoadedModel:
    """A registered detector and its thresholds."""

    trained: "TrainedModel"
    threshold: "Threshold"

    def score(self, rows: "pd.DataFrame", params: Params, label: str) -> Iterator["Scored"]:
        """Score the images of some rows of the manifest, encoding what the feature cache lacks.

        Raises:
            HarmoniadError: The weights of the model's encoder are missing, or the disk is full.
        """
        from harmoniad.evaluation import score_images
        from harmoniad.features.dataset import image_paths, image_views
        from harmoniad.features.encode import ensure_features
        from harmoniad.features.views import tile_views

        if rows.empty:
            return
        views = image_views(rows, lambda row: tile_views(row, self.trained.tiling))
        cache, _ = ensure_features(image_paths(rows), self.trained.encoder, params.encode, params.device, views)
        yield from score_images(rows, self.trained, cache, self.threshold.image_score, label)


def load(version: "ModelVersion", params: Params) -> LoadedModel:
    """Load a version; nothing of it is unpickled or run.

    Raises:
        UnusableModelError: Its files are missing or damaged.
    """
    with files_of(version) as folder:
        from harmoniad.features.encoders import choose_device
        from harmoniad.models.storage import load_model
        from harmoniad.scoring import Threshold

        try:
            trained = load_model(folder, choose_device(params.device))
            threshold = Threshold.from_dict(read_json(folder / "threshold.json"))
        except (HarmoniadError, KeyError, TypeError) as error:
            raise UnusableModelError(
                f"{_name(version)} was made by another version of harmoniad. Check its commit out to use it."
            ) from error
    return LoadedModel(trained, threshold)


def has_files(model_uri: str) -> bool:
    """Whether MLflow holds the files of a model."""
    import mlflow

    return any(file.path == "MLmodel" for file in mlflow.artifacts.list_artifacts(model_uri))


@contextlib.contextmanager
def files_of(version: "ModelVersion") -> Iterator[Path]:
    """Give a temporary folder with the model's files, which are those that were registered.

    Raises:
        UnusableModelError: They are missing or were changed.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="harmoniad-") as temporary:
        uri = f"models:/{version.name}/{version.version}/{LOGGED_FOLDER}"
        try:
            folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=temporary))
            whole = all((folder / path.name).is_file() for path in MODEL_FILES)
        except (MlflowException, FileNotFoundError, ValueError):
            whole = False
        if not whole:
            raise UnusableModelError(f"the model's files of {_name(version)} are missing in MLflow.")
        if folder_digest(folder) != version.tags.get("model_digest"):
            raise UnusableModelError(f"the model's files of {_name(version)} were changed since it was registered.")
        yield folder


def _name(version: "ModelVersion") -> str:
    return f"{version.name} version {version.version}"
