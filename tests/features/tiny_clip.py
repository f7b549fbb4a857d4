"""A CLIP with random weights, small enough for a test, whose text tower takes open_clip's own tokens."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from harmoniad.params import Encoder

NAME = "tiny-clip"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


def save_tiny_clip(path: Path, monkeypatch: pytest.MonkeyPatch, *, custom_text: bool = False) -> Any:
    """Make the model known to open_clip for the length of a test, and write its weights.

    Args:
        path: Of the safetensors file.
        monkeypatch: Of the test.
        custom_text: Whether the text tower is a module of its own, as in newer models of open_clip.

    Returns:
        The model.
    """
    config = {**CONFIG, "custom_text": True} if custom_text else CONFIG
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, NAME, config)
    torch.manual_seed(0)
    model = open_clip.create_model(NAME, load_weights=False, pretrained_image=False).eval()
    save_file(model.state_dict(), path)
    return model


def encoder_of(path: Path) -> Encoder:
    """The section of `params.yaml` for weights that `save_tiny_clip` wrote."""
    return Encoder(name=f"open_clip:{NAME}", weights=str(path), resolution=32, layers=[0, 2])
