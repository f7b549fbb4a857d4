"""Transformers as graphs, and a model that cuts images into tiles."""

import json
from pathlib import Path

import numpy as np
import open_clip
import timm
import torch
from safetensors.torch import save_file

from tests.export.models import check_answers, make, tiles

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


def test_a_vit_of_timms(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit", pretrained=False).state_dict(), weights)
    encoder = {"name": "timm:test_vit", "weights": str(weights), "resolution": 70, "layers": [1, 3]}  # 64, in patches
    check_answers(make("patchcore", tmp_path, encoder=encoder), tmp_path / "graphs", tiles(3))


def test_a_tower_of_open_clip(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "exported-clip.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(tmp_path / "configs")
    torch.manual_seed(0)
    weights = tmp_path / "clip.safetensors"
    save_file(open_clip.create_model("exported-clip", load_weights=False).state_dict(), weights)
    encoder = {"name": "open_clip:exported-clip", "weights": str(weights), "resolution": 48, "layers": [0, 2]}
    check_answers(make("patchcore", tmp_path, encoder=encoder), tmp_path / "graphs", tiles(3))


def test_a_model_that_cuts_images_into_tiles(tmp_path: Path) -> None:
    encoder = {"resolution": 32, "layers": [1]}
    reference = make("patchcore", tmp_path, encoder=encoder, tile=64)
    (image,) = tiles(1, 150, 100)
    assert len(reference.model.tiling.boxes(100, 150)) > 4
    check_answers(reference, tmp_path / "graphs", [image, np.ascontiguousarray(image[:50, :40])])
