import subprocess
import sys

import pytest
import timm
import torch

from harmoniad.errors import HarmoniadError
from harmoniad.features import lite0, weights
from harmoniad.features.lite0 import Lite0
from harmoniad.params import Encoder as EncoderParams


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return weights.load_state(weights.resolve(EncoderParams()).path)


@pytest.mark.parametrize("size", [(256, 256), (96, 96), (100, 37)])
@pytest.mark.parametrize("indices", [[2, 3], [0, 1, 2, 3, 4], [1]])
def test_it_gives_timms_bytes(state: dict[str, torch.Tensor], size: tuple[int, int], indices: list[int]) -> None:
    ours, theirs = Lite0().eval(), timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    ours.load_state_dict(lite0.rename(state, ours.state_dict()))
    theirs.load_state_dict(lite0.rename(state, theirs.state_dict()))
    pixels = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        found = ours.to(memory_format=torch.channels_last).forward_intermediates(pixels, indices)
        wanted = theirs.to(memory_format=torch.channels_last).forward_intermediates(
            pixels, indices=indices, stop_early=True, intermediates_only=True
        )
    assert len(found) == len(wanted) == len(indices)
    assert all(torch.equal(one, two) for one, two in zip(found, wanted, strict=True))


def test_its_pixels_are_scaled_as_timms() -> None:
    config = timm.get_pretrained_cfg("tf_efficientnet_lite0")
    assert (config.mean, config.std) == (lite0.MEAN, lite0.STD)


@pytest.mark.parametrize("change", ["shape", "count"])
def test_other_weights_are_refused(state: dict[str, torch.Tensor], change: str) -> None:
    wrong = dict(list(state.items())[:20]) if change == "count" else {**state, next(iter(state)): torch.zeros(3)}
    with pytest.raises(HarmoniadError, match="not those of EfficientNet-Lite0"):
        lite0.rename(wrong, Lite0().state_dict())


def test_the_default_encoder_does_not_load_timm() -> None:
    code = (
        "import sys, torch; from harmoniad.features.encoders import Encoder, EncoderSpec; from harmoniad.params import "
        "Encoder as P; Encoder(EncoderSpec.from_params(P()), torch.device('cpu')); "
        "print([m for m in ('timm', 'torchvision', 'torch._dynamo', 'open_clip') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
