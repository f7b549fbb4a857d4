"""A trained model on disk: `detector.safetensors` and `model.json`, never a pickle."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import EncoderSpec
from harmoniad.files import read_json, replacing_folder, sha256_file, write_json
from harmoniad.models.detector import Detector, detector_class
from harmoniad.tiling import Tiling

MODEL_DIR = Path("results/train/model")
FORMAT = 2
TENSORS, DESCRIPTION = "detector.safetensors", "model.json"


@dataclass(frozen=True)
class TrainedModel:
    """A detector with all that is needed to use it and to say where it comes from."""

    detector_name: str
    detector: Detector
    encoder: EncoderSpec
    categories: list[str]
    data_fingerprint: str
    seed: int
    tiling: Tiling = field(default_factory=Tiling)  # how images are cut before they are encoded
    started_from: str | None = None  # SHA-256 of the tensors of the model whose weights the training started from


def save_model(folder: Path, model: TrainedModel) -> None:
    """Write a model; an older one in `folder` is replaced only when the new one is whole."""
    from safetensors.torch import save_file

    with replacing_folder(folder) as temporary:
        save_file(model.detector.tensors(), temporary / TENSORS)
        description = {
            "format": FORMAT,
            "detector": {"name": model.detector_name, "config": model.detector.config()},
            "detector_sha256": sha256_file(temporary / TENSORS),
            "encoder": asdict(model.encoder),
            "categories": model.categories,
            "data_fingerprint": model.data_fingerprint,
            "seed": model.seed,
            "tiling": asdict(model.tiling),
            **({"started_from": model.started_from} if model.started_from else {}),
        }
        write_json(temporary / DESCRIPTION, description)


def load_model(folder: Path, device: torch.device) -> TrainedModel:
    """Read a model.

    Raises:
        HarmoniadError: The folder holds no model, or one of another format, or the tensors are not those that
            `model.json` names.
    """
    from safetensors.torch import load_file

    description: dict[str, Any] = read_json(folder / DESCRIPTION)
    if description.get("format") != FORMAT:
        raise HarmoniadError(f"{folder}: a model of another version of harmoniad. Run `dvc repro train`.")
    tensors_file = folder / TENSORS
    if not tensors_file.is_file() or sha256_file(tensors_file) != description["detector_sha256"]:
        raise HarmoniadError(f"{tensors_file}: missing or changed since it was trained. Run `dvc repro train`.")
    name = description["detector"]["name"]
    try:
        detector = detector_class(name).restore(description["detector"]["config"], load_file(tensors_file))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # a design or tensors that this version has not
        raise HarmoniadError(f"{folder}: a model of another version of harmoniad. Run `dvc repro train`.") from error
    return TrainedModel(
        detector_name=name,
        detector=detector.to(device),
        encoder=EncoderSpec.from_dict(description["encoder"]),
        categories=description["categories"],
        data_fingerprint=description["data_fingerprint"],
        seed=description["seed"],
        tiling=Tiling(**description["tiling"]),
        started_from=description.get("started_from"),
    )
