import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data as photographs

from harmoniad.errors import HarmoniadError
from harmoniad.features import lite0, weights
from harmoniad.features.encoders import Encoder, EncoderSpec, choose_device, resize
from harmoniad.params import Encoder as EncoderParams

CPU = torch.device("cpu")
TINY_VIT = "timm:test_vit"


def photograph(name: str, side: int) -> np.ndarray:
    return resize(Image.fromarray(getattr(photographs, name)()), side)


@pytest.fixture
def vit_weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "with space ü" / "vit.safetensors"
    path.parent.mkdir()
    save_file(timm.create_model("test_vit", pretrained=False).state_dict(), path)
    return path


@pytest.fixture
def clip_weights(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
    }
    (folder / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    path = tmp_path / "clip.safetensors"
    save_file(open_clip.create_model("tiny-clip", load_weights=False).state_dict(), path)
    return path


def encoder(**params: object) -> Encoder:
    return Encoder(EncoderSpec.from_params(EncoderParams.model_validate(params)), CPU)


def test_the_embedded_weights_know_the_photographs() -> None:
    found = weights.resolve(EncoderParams())
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(lite0.rename(weights.load_state(found.path), network.state_dict()))
    network.eval()
    for name, label, probability in (("coffee", 967, 0.5), ("chelsea", 285, 0.2), ("camera", 872, 0.8)):
        pixels = torch.from_numpy(photograph(name, 224)).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            probabilities = network((pixels - 0.5) / 0.5).softmax(1)[0]
        assert probabilities.argmax() == label, name  # espresso, Egyptian cat, tripod
        assert probabilities[label] > probability


def test_the_default_encoder_gives_two_layers() -> None:
    layers = encoder()([photograph("coffee", 256)] * 2)
    assert [tuple(layer.shape) for layer in layers] == [(2, 40, 32, 32), (2, 112, 16, 16)]
    assert all(layer.dtype == torch.float32 and layer.std() > 0.1 for layer in layers)


def test_an_image_has_the_same_features_in_any_company() -> None:
    network = encoder()
    first, second = photograph("coffee", 256), photograph("brick", 256)
    alone, together = network([first]), network([second, first])
    assert all(torch.equal(one[0], two[1]) for one, two in zip(alone, together, strict=True))


@pytest.mark.parametrize(("resolution", "grid"), [(160, 10), (224, 14)])
def test_a_transformer_takes_any_resolution(vit_weights: Path, resolution: int, grid: int) -> None:
    network = encoder(name=TINY_VIT, weights=str(vit_weights), resolution=resolution, layers=[1, 3])
    layers = network([photograph("coffee", resolution)])
    assert [tuple(layer.shape[2:]) for layer in layers] == [(grid, grid)] * 2


def test_timm_features_are_timms_own(vit_weights: Path) -> None:
    network = encoder(name=TINY_VIT, weights=str(vit_weights), resolution=160, layers=[0, 5])
    model = timm.create_model("test_vit", pretrained=False, checkpoint_path=str(vit_weights)).eval()
    image = photograph("coffee", 160)
    config = timm.data.resolve_model_data_config(model)
    pixels = torch.from_numpy(image).permute(2, 0, 1) / 255
    pixels = (pixels - torch.tensor(config["mean"]).view(3, 1, 1)) / torch.tensor(config["std"]).view(3, 1, 1)
    with torch.inference_mode():
        expected = model.forward_intermediates(pixels[None], indices=[0, 5], intermediates_only=True)
    for found, wanted in zip(network([image]), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("resolution", "grid"), [(32, 4), (48, 6)])
def test_open_clip_towers_give_their_layers(clip_weights: Path, resolution: int, grid: int) -> None:
    network = encoder(name="open_clip:tiny-clip", weights=str(clip_weights), resolution=resolution, layers=[0, 2])
    layers = network([photograph("coffee", resolution)])
    assert [tuple(layer.shape) for layer in layers] == [(1, 64, grid, grid)] * 2


def test_open_clip_pixels_and_features_are_its_own(clip_weights: Path) -> None:
    network = encoder(name="open_clip:tiny-clip", weights=str(clip_weights), resolution=32, layers=[1])
    model = open_clip.create_model("tiny-clip", pretrained=str(clip_weights), weights_only=True).eval()
    transform = open_clip.image_transform(32, is_train=False, resize_mode="squash", interpolation="bicubic")
    image = Image.fromarray(photographs.coffee())
    with torch.inference_mode():
        found = model.visual.forward_intermediates(transform(image)[None], indices=[1], intermediates_only=True)
    torch.testing.assert_close(network([resize(image, 32)])[0], found["image_intermediates"][0], atol=1e-4, rtol=1e-4)


def test_the_key_depends_on_the_content_of_the_weights_not_on_their_place(vit_weights: Path) -> None:
    params = EncoderParams(name=TINY_VIT, weights=str(vit_weights), resolution=160, layers=[1])
    moved = vit_weights.with_name("moved.safetensors")
    moved.write_bytes(vit_weights.read_bytes())
    here = EncoderSpec.from_params(params)
    there = EncoderSpec.from_params(params.model_copy(update={"weights": str(moved)}))
    assert here.key == there.key
    assert EncoderSpec.from_dict(vars(here)) == here
    assert EncoderSpec.from_params(params.model_copy(update={"resolution": 192})).key != here.key


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"name": "timm:nonsense_net"}, "timm has no model `nonsense_net`"),
        ({"name": "timm:test_vitt"}, "Did you mean test_vit"),
        ({"name": TINY_VIT, "layers": [3, 9]}, "has 6 layers, counted from 0 to 5"),
        ({"name": "timm:test_resnet"}, "do not fit the encoder"),
        ({"name": "open_clip:ViT-Z-99"}, "open_clip has no model `ViT-Z-99`"),
        ({"name": "open_clip:ViT-B-32"}, "do not fit open_clip:ViT-B-32"),
    ],
)
def test_a_wrong_encoder_is_told(vit_weights: Path, params: dict[str, object], words: str) -> None:
    with pytest.raises(HarmoniadError) as told:
        encoder(**{"weights": str(vit_weights), "resolution": 160, "layers": [1], **params})
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_changed_weights_are_refused(vit_weights: Path) -> None:
    spec = EncoderSpec.from_params(EncoderParams(name=TINY_VIT, weights=str(vit_weights), resolution=160, layers=[1]))
    state = weights.load_state(vit_weights)
    save_file({name: tensor + 1 for name, tensor in state.items()}, vit_weights)
    with pytest.raises(HarmoniadError, match="not the weights that the model was trained with"):
        Encoder(spec, CPU)


def test_devices() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(HarmoniadError, match="device: cuda:99 is not there"):
        choose_device("cuda:99")
