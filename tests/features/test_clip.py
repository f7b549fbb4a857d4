"""CLIP and SigLIP towers under their real names: real patches, pixels and position grids, but few and narrow blocks."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import Encoder, EncoderSpec
from harmoniad.params import Encoder as EncoderParams

TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
SMALL = {
    "ViT-L-14-336": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 336, "layers": 3, "width": 64, "head_width": 32, "patch_size": 14},
        "text_cfg": TEXT,
    },
    "ViT-B-16": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 224, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": TEXT,
    },
    "ViT-B-16-SigLIP": {
        "embed_dim": 96,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit3",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
}
TAGS = {"ViT-L-14-336": "openai", "ViT-B-16": "openai", "ViT-B-16-SigLIP": "webli"}
INPUT_SIZES = [
    ("ViT-L-14-336", 336, 336, 24),
    ("ViT-L-14-336", 518, 518, 37),
    ("ViT-B-16", 336, 336, 21),
    ("ViT-B-16", 518, 512, 32),
    ("ViT-B-16-SigLIP", 336, 336, 21),
    ("ViT-B-16-SigLIP", 518, 512, 32),
]


@cache
def photograph(seed: int) -> Image.Image:
    """A JPEG of odd size with the spectrum of a photograph: soft shades, edges, grain, and what compression adds."""
    generator = np.random.default_rng(seed)
    height, width = (int(side) for side in generator.integers(97, 900, size=2))
    shades = ndimage.zoom(generator.random((5, 7, 3)), (height / 5, width / 7, 1), order=1)
    shades[height // 3 :, : width // 2] *= 0.6
    pixels = np.clip(255 * shades + generator.normal(0, 6, shades.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(generator.integers(60, 96)))
    image = Image.open(buffer)
    image.load()
    return image


def transform_of(name: str, size: int) -> Any:
    tag = open_clip.get_pretrained_cfg(name, TAGS[name])
    settings = open_clip.transform.PreprocessCfg(
        size=size, mean=tag["mean"], std=tag["std"], interpolation="bicubic", resize_mode="squash"
    )
    return open_clip.transform.image_transform_v2(settings, is_train=False)


@pytest.fixture
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, config in SMALL.items():
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)


def random_model(name: str, path: Path) -> Any:
    torch.manual_seed(0)
    model = open_clip.create_model(name, load_weights=False, pretrained_image=False).eval()
    save_file(model.state_dict(), path)
    return model


def encoder(name: str, path: Path, resolution: int, layers: list[int]) -> Encoder:
    params = EncoderParams(name=name, weights=str(path), resolution=resolution, layers=layers)
    return Encoder(EncoderSpec.from_params(params), torch.device("cpu"))


def interpolated(positions: Tensor, grid: int, extra: int) -> Tensor:
    """Position embeddings (extra + h * h, D), resampled to another grid."""
    side = round((len(positions) - extra) ** 0.5)
    plane = positions[extra:].T.reshape(1, -1, side, side)
    plane = F.interpolate(plane, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:extra], plane[0].flatten(1).T])


@torch.inference_mode()
def own_features(model: Any, pixels: Tensor, grid: int, layers: list[int]) -> list[Tensor]:
    """Features of the network that wrote the weights, its position embeddings brought to the grid by hand."""
    tower = model.visual
    if hasattr(tower, "trunk"):
        trunk = tower.trunk
        trunk.patch_embed.set_input_size((pixels.shape[-2], pixels.shape[-1]))
        trunk.pos_embed = torch.nn.Parameter(interpolated(trunk.pos_embed[0], grid, trunk.num_prefix_tokens)[None])
    else:
        tower.positional_embedding = torch.nn.Parameter(interpolated(tower.positional_embedding, grid, 1))
    tower.to(memory_format=torch.channels_last)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return tower.forward_intermediates(pixels, indices=layers, intermediates_only=True)["image_intermediates"]


@pytest.mark.parametrize(("name", "resolution", "size", "grid"), INPUT_SIZES)
def test_saved_and_loaded_weights_give_bit_equal_features(
    small_models: None, tmp_path: Path, name: str, resolution: int, size: int, grid: int
) -> None:
    path = tmp_path / "with space ü.safetensors"
    model = random_model(name, path)
    loaded = encoder(f"open_clip:{name}", path, resolution, [0, 2])
    assert loaded.input_size == size
    image = photograph(1)
    found = loaded([loaded.resize(image)])
    wanted = own_features(model, transform_of(name, size)(image)[None], grid, [0, 2])
    assert [tuple(layer.shape[2:]) for layer in found] == [(grid, grid)] * 2
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)
        assert one.std() > 0.1


@pytest.mark.parametrize("name", list(SMALL))
@pytest.mark.parametrize("resolution", [336, 518])
def test_pixels_are_open_clips_to_the_last_bit(small_models: None, tmp_path: Path, name: str, resolution: int) -> None:
    random_model(name, tmp_path / "weights.safetensors")
    loaded = encoder(f"open_clip:{name}", tmp_path / "weights.safetensors", resolution, [0])
    transform = transform_of(name, loaded.input_size)
    for seed in range(20):
        image = photograph(seed)
        assert torch.equal(loaded.pixels(loaded.resize(image)[None])[0], transform(image)), seed


@pytest.mark.parametrize("name", ["ViT-B-16", "ViT-B-16-SigLIP"])
def test_no_edge_is_blind_where_patches_do_not_fill_the_resolution(
    small_models: None, tmp_path: Path, name: str
) -> None:
    random_model(name, tmp_path / "weights.safetensors")
    loaded = encoder(f"open_clip:{name}", tmp_path / "weights.safetensors", 518, [2])
    good = np.full((518, 518, 3), 128, np.uint8)
    scratched = good.copy()
    scratched[:, -5:] = 255  # lies in the six columns that whole patches of 16 leave over
    before, after = (loaded([loaded.resize(Image.fromarray(image))])[0] for image in (good, scratched))
    assert (after - before).abs().amax((0, 1, 2))[-1] > 0.01


def test_a_timm_transformer_takes_whole_patches_too(tmp_path: Path) -> None:
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit3", pretrained=False).state_dict(), path)
    loaded = encoder("timm:test_vit3", path, 200, [1])
    assert loaded.input_size == 192
    assert loaded([loaded.resize(photograph(2))])[0].shape == (1, 96, 12, 12)


def test_a_network_of_fixed_patches_names_the_sizes_that_fit(tmp_path: Path) -> None:
    path = tmp_path / "cait.safetensors"
    save_file(timm.create_model("cait_xxs24_224", img_size=230, pretrained=False).state_dict(), path)
    with pytest.raises(HarmoniadError, match=r"encoder.resolution: .* patches of 16 px. Choose 224 or 240, not 230"):
        encoder("timm:cait_xxs24_224", path, 230, [1])


def test_a_clip_resnet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": TEXT,
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "RN50", config)
    random_model("RN50", tmp_path / "weights.safetensors")
    with pytest.raises(HarmoniadError, match="open_clip:RN50 gives no intermediate features"):
        encoder("open_clip:RN50", tmp_path / "weights.safetensors", 64, [1])


def test_the_whole_vit_b_16_runs_at_518(tmp_path: Path) -> None:
    model = random_model("ViT-B-16", tmp_path / "weights.safetensors")
    loaded = encoder("open_clip:ViT-B-16", tmp_path / "weights.safetensors", 518, [0, 1])
    image = photograph(3)
    wanted = own_features(model, transform_of("ViT-B-16", 512)(image)[None], 32, [0, 1])
    for one, other in zip(loaded([loaded.resize(image)]), wanted, strict=True):
        assert one.shape == (1, 768, 32, 32)
        assert torch.equal(one, other)
