import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data as photographs
from torch import Tensor

from harmoniad.data.images import load_rgb
from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import Encoder, EncoderSpec
from harmoniad.files import write_json
from harmoniad.inspector import Inspector
from harmoniad.models.patchcore.detector import PatchcoreDetector
from harmoniad.models.storage import TrainedModel, save_model
from harmoniad.params import Params
from harmoniad.scoring import ImageScore, calibrate

CPU = torch.device("cpu")
CATEGORIES = ["brick", None, "other", "brick", None]


class Features:
    """Features of some images, as the cache rounds them."""

    def __init__(self, layers: list[Tensor]) -> None:
        self._layers = [layer.half() for layer in layers]
        self.shapes = tuple(tuple(layer.shape[1:]) for layer in layers)
        self.categories = ["brick"] * len(layers[0])

    def __len__(self) -> int:
        return len(self.categories)

    def batch(self, indices: list[int]) -> list[Tensor]:
        return [layer[indices].float() for layer in self._layers]


def jpegs(count: int) -> list[bytes]:
    """Cuts of a photograph, no two of one size."""
    found = []
    for index in range(count):
        buffer = io.BytesIO()
        cut = photographs.coffee()[20 * index : 20 * index + 150 + 3 * index, 30 * index : 30 * index + 171]
        Image.fromarray(cut).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with space ü")
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit", pretrained=False).state_dict(), folder / "vit.safetensors")
    params = Params.model_validate(
        {
            "encoder": {
                "name": "timm:test_vit",
                "weights": str(folder / "vit.safetensors"),
                "resolution": 160,
                "layers": [1, 3],
            },
            "detector": {"patchcore": {"coreset": 0.5, "max_patches": 200}},
        }
    )
    spec = EncoderSpec.from_params(params.encoder)
    encoder = Encoder(spec, CPU)
    features = Features(encoder([encoder.resize(Image.open(io.BytesIO(content))) for content in jpegs(4)]))
    detector = PatchcoreDetector.create(features.shapes, params)
    detector.fit(features, device=CPU, checkpoint=folder / "checkpoint")
    save_model(folder / "model", TrainedModel("patchcore", detector, spec, ["brick"], "abc", 0))
    threshold = calibrate(
        [1.0, 2.0],
        ["brick", "other"],
        false_positive_rate=0.05,
        normal_level=0.0,
        image_score=ImageScore.from_params(params.evaluate),
    )
    write_json(folder / "model" / "threshold.json", threshold.to_dict())
    return folder / "model"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_gives_what_predict_gives(model: Path, tmp_path: Path, workers: int) -> None:
    inspector = Inspector.load(model, "cpu")
    contents = jpegs(5)
    path = tmp_path / "part ü.jpg"
    path.write_bytes(contents[2])
    arrays = [load_rgb(Path("image"), content) for content in contents]
    wanted = [inspector.predict([array], [name])[0] for array, name in zip(arrays, CATEGORIES, strict=True)]
    sources = [*contents[:2], path, *contents[3:]]
    found = list(inspector.predict_stream(iter(sources), iter(CATEGORIES), batch_size=2, workers=workers))
    assert len(found) == 5
    for one, other, array in zip(found, wanted, arrays, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert one.threshold == other.threshold
        assert one.anomaly_map.shape == array.shape[:2]
        np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, atol=1e-4)
    unnamed = list(inspector.predict_stream(contents[:3], batch_size=2, workers=workers))
    assert [one.threshold for one in unnamed] == [inspector.threshold.joint] * 3


def test_a_stream_may_be_endless(model: Path) -> None:
    def camera() -> Iterator[bytes]:
        while True:
            yield from jpegs(1)

    stream = Inspector.load(model, "cpu").predict_stream(camera(), batch_size=2)
    assert [next(stream).anomaly_map.shape for _ in range(3)] == [(150, 171)] * 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "image 1: the file is empty"),
        (b"no image at all", "image 1: is not an image"),
        (jpegs(1)[0][:2000], "image 1: the file is"),
    ],
)
def test_a_broken_image_is_named_by_its_place(model: Path, content: bytes, words: str) -> None:
    stream = Inspector.load(model, "cpu").predict_stream([jpegs(1)[0], content], batch_size=1)
    next(stream)
    with pytest.raises(HarmoniadError, match=words):
        next(stream)


def test_a_missing_file_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"gone\.jpg: cannot be read"):
        next(Inspector.load(model, "cpu").predict_stream([tmp_path / "gone.jpg"]))


def test_scores_in_bfloat16_stay_near(model: Path) -> None:
    exact, fast = Inspector.load(model, "cpu"), Inspector.load(model, "cpu", "bfloat16")
    for one, other in zip(exact.predict_stream(jpegs(4)), fast.predict_stream(jpegs(4)), strict=True):
        assert one.score != other.score  # the switch does something
        assert one.score == pytest.approx(other.score, rel=0.05, abs=0.05)


def test_bfloat16_features_do_not_depend_on_the_company(model: Path) -> None:
    encoder = Inspector.load(model, "cpu", "bfloat16").encoder
    first, second = (encoder.resize(Image.open(io.BytesIO(content))) for content in jpegs(2))
    for alone, together in zip(encoder([first]), encoder([second, first]), strict=True):
        assert alone.dtype == torch.float32
        assert torch.equal(alone[0], together[1])


def test_images_of_another_size_are_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="images of 160 px are wanted"):
        Inspector.load(model, "cpu").encoder([np.zeros((150, 160, 3), np.uint8)])
