"""Transformers as graphs, and a model that cuts images into tiles."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.export.models import check_answers, make, tiles
from tests.features.tiny_clip import encoder_of, save_tiny_clip


def test_a_vit_of_timms(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit", pretrained=False).state_dict(), weights)
    encoder = {"name": "timm:test_vit", "weights": str(weights), "resolution": 70, "layers": [1, 3]}  # 64, in patches
    check_answers(make("patchcore", tmp_path, encoder=encoder), tmp_path / "graphs", tiles(3))


def test_a_tower_of_open_clip_and_a_detector_that_read_its_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "clip.safetensors"
    save_tiny_clip(weights, monkeypatch)
    reference = make("cnc", tmp_path, encoder=encoder_of(weights).model_dump())
    check_answers(reference, tmp_path / "graphs", tiles(3))


def test_a_model_that_cuts_images_into_tiles(tmp_path: Path) -> None:
    encoder = {"resolution": 32, "layers": [1]}
    reference = make("patchcore", tmp_path, encoder=encoder, tile=64)
    (image,) = tiles(1, 150, 100)
    assert len(reference.model.tiling.boxes(100, 150)) > 4
    check_answers(reference, tmp_path / "graphs", [image, np.ascontiguousarray(image[:50, :40])])
