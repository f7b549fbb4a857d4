"""What a request to MLflow's model server may hold, as images; and what it is answered."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from harmoniad.errors import HarmoniadError
from harmoniad.pictures import to_rgb
from harmoniad.tracking.provenance import folder_digest

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

    from harmoniad.inspector import Prediction

DIGEST = "model_digest"  # among the metadata of a logged model


def images_of(model_input: Any) -> Iterator[np.ndarray]:
    """The images of a request as (H, W, 3) uint8, one by one.

    A text is the content of a file in base64 and never a path. Numbers, in whatever nesting, are pixels.

    Args:
        model_input: Pixels (B, H, W, 3), (B, H, W, 4) or (B, H, W), or texts (B,) or (B, 1), or a mixture.

    Raises:
        HarmoniadError: One is not an image.
    """
    for number, entry in enumerate(model_input):
        name = f"image {number}"
        is_cell = isinstance(entry, list | np.ndarray) and len(entry) == 1 and isinstance(entry[0], str | bytes)
        value = entry[0] if is_cell else entry  # of a table with one column
        if isinstance(value, str | bytes):
            yield to_rgb(_decoded(value, name), name)
        else:
            yield to_rgb(_pixels(value, name), name)


def answer(predictions: Sequence["Prediction"], with_maps: bool) -> dict[str, Any]:
    """Predictions as the model server turns them into JSON."""
    found: dict[str, Any] = {
        "score": np.array([prediction.score for prediction in predictions]),
        "is_anomalous": np.array([prediction.is_anomalous for prediction in predictions], dtype=bool),
        "threshold": np.array([prediction.threshold for prediction in predictions]),
        "regions": [
            [{"box": list(part.box), "area": part.area, "max_score": part.max_score} for part in prediction.regions]
            for prediction in predictions
        ],
    }
    if with_maps:
        maps = [prediction.anomaly_map for prediction in predictions]
        found["anomaly_map"] = np.array(maps) if len({each.shape for each in maps}) == 1 else maps
    return found


def signature() -> "ModelSignature":
    """What the model takes and gives.

    The input is an object tensor, the one type that lets base64 texts pass as well as arrays of uint8.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype(object), (-1,))])
    predictions = Schema(
        [
            TensorSpec(np.dtype("float64"), (-1,), "score"),
            TensorSpec(np.dtype("bool"), (-1,), "is_anomalous"),
            TensorSpec(np.dtype("float64"), (-1,), "threshold"),
            TensorSpec(np.dtype(object), (-1,), "regions"),
            TensorSpec(np.dtype("float32"), (-1, -1, -1), "anomaly_map"),
        ]
    )
    params = ParamSchema([ParamSpec("category", "string", ""), ParamSpec("anomaly_map", "boolean", True)])
    return ModelSignature(images, predictions, params)


def check_digest(folder: Path) -> None:
    """Refuse files that are not those which were logged; a model of an older version says nothing of them.

    Args:
        folder: `artifacts/model` of a logged model, which notes the digest in its file `MLmodel`.

    Raises:
        HarmoniadError: They were changed.
    """
    about = folder.parent.parent / "MLmodel"
    content = yaml.safe_load(about.read_text(encoding="utf-8")) if about.is_file() else {}
    metadata: Mapping[str, Any] = content.get("metadata") or {}
    if DIGEST in metadata and metadata[DIGEST] != folder_digest(folder):
        raise HarmoniadError(f"{folder}: the model's files were changed since it was registered.")


def _decoded(value: str | bytes, name: str) -> bytes:
    text = value.encode("ascii", "replace") if isinstance(value, str) else value
    try:
        return base64.b64decode(text.rpartition(b";base64,")[2], validate=True)
    except binascii.Error as error:
        raise HarmoniadError(f"{name}: not base64. Send the content of a PNG or JPEG file in base64.") from error


def _pixels(value: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(value.tolist() if isinstance(value, np.ndarray) and value.dtype == object else value)
    except ValueError as error:
        raise HarmoniadError(f"{name}: its rows differ in length. Send (H, W, 3) of uint8.") from error
    if array.dtype.kind == "i" and array.size and array.min() >= 0 and array.max() <= 255:  # as JSON gives numbers
        return array.astype(np.uint8)
    if array.dtype.kind == "i":
        raise HarmoniadError(f"{name}: must be uint8, but its numbers lie outside of 0..255.")
    return array
