from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs

from harmoniad.errors import HarmoniadError
from harmoniad.features.dataset import CachedFeatures
from harmoniad.features.encode import ensure_features
from harmoniad.features.encoders import EncoderSpec
from harmoniad.files import read_json, sha256_file, write_json
from harmoniad.inspector import Inspector
from harmoniad.models.detector import detector_class
from harmoniad.models.storage import TrainedModel, save_model
from harmoniad.params import Params
from harmoniad.scoring import ImageScore, calibrate

PARAMS = Params.model_validate(
    {
        "encoder": {"resolution": 64},
        "detector": {
            "harmoniad": {
                **{"width": 16, "heads": 2, "blocks": 2, "grid": 8, "memory_patches": 20, "head_steps": 2},
                **{"feature_defects": True, "reconstruction": True},  # there are no copies with made defects here
            }
        },
        "train": {"steps": 2, "batch_size": 2},
        "device": "cpu",
    }
)


def tiles(count: int) -> list[np.ndarray]:
    brick = np.repeat(photographs.brick()[:, :, None], 3, axis=2)
    return [np.ascontiguousarray(brick[8 * index : 8 * index + 96, : 80 + index]) for index in range(count)]


@pytest.fixture(scope="module", params=["harmoniad", "patchcore", "padim", "dinomaly", "inp_former"])
def model_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with space ü")
    images = {}
    for index, tile in enumerate(tiles(5)):
        path = folder / f"{index}.png"
        Image.fromarray(tile).save(path)
        images[sha256_file(path)] = path
    spec = EncoderSpec.from_params(PARAMS.encoder)
    settings = PARAMS.encode.model_copy(update={"cache": str(folder / "cache")})
    cache, encoded = ensure_features(images, spec, settings, "cpu")
    assert encoded == 5
    assert ensure_features(images, spec, settings, "cpu")[1] == 0  # never twice
    detector = detector_class(request.param).create(cache.shapes, PARAMS)
    features = CachedFeatures(cache, list(images), ["brick"] * 5)
    detector.fit(features, device=torch.device("cpu"), checkpoint=folder / "checkpoint")
    save_model(folder / "model", TrainedModel(request.param, detector, spec, ["brick"], "abc", 0))
    threshold = calibrate(
        [0.5, 0.6, 0.7],
        ["brick", "third", "other"],
        false_positive_rate=0.34,
        normal_level=0.1,
        image_score=ImageScore.from_params(PARAMS.evaluate),
    )
    write_json(folder / "model" / "threshold.json", threshold.to_dict())
    return folder


def test_the_same_image_has_one_score_by_any_way(model_folder: Path) -> None:
    inspector = Inspector.load(model_folder / "model", "cpu")
    images = tiles(3)
    together = inspector.predict(images, ["brick"] * 3)
    alone = [inspector.predict([image], ["brick"])[0] for image in images]
    spec = inspector.model.encoder
    shas = [sha256_file(model_folder / f"{index}.png") for index in range(3)]
    cache, _ = ensure_features({}, spec, PARAMS.encode.model_copy(update={"cache": str(model_folder / "cache")}), "cpu")
    layers = CachedFeatures(cache, shas, ["brick"] * 3).batch(range(3))
    image_score = inspector.threshold.image_score
    token_maps = inspector.model.detector.anomaly_maps(layers, ["brick"] * 3)
    cached = image_score(image_score.pixel_maps(token_maps, spec.resolution)).tolist()
    for one, two, three, image in zip(together, alone, cached, images, strict=True):
        assert one.score == pytest.approx(two.score, abs=1e-5)
        assert one.score == pytest.approx(three, abs=1e-5)
        assert one.anomaly_map.shape == image.shape[:2]
        assert one.is_anomalous == (one.score > one.threshold)


def test_a_known_category_chooses_the_threshold(model_folder: Path) -> None:
    inspector = Inspector.load(model_folder / "model", "cpu")
    image = tiles(1)
    assert inspector.predict(image, ["brick"])[0].threshold == 0.5
    assert inspector.predict(image, ["other"])[0].threshold == 0.7
    assert inspector.predict(image)[0].threshold == 0.6  # the joint one
    assert inspector.predict([]) == []


def test_a_model_of_another_version_is_told(model_folder: Path, tmp_path: Path) -> None:
    for file in (model_folder / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = read_json(tmp_path / "model.json")
    content["detector"]["config"]["design"]["gone"] = 1
    write_json(tmp_path / "model.json", content)
    with pytest.raises(HarmoniadError, match="another version of harmoniad"):
        Inspector.load(tmp_path, "cpu")
    write_json(tmp_path / "model.json", {**content, "format": 0})
    with pytest.raises(HarmoniadError, match="another version of harmoniad"):
        Inspector.load(tmp_path, "cpu")


def test_a_changed_model_is_refused(model_folder: Path, tmp_path: Path) -> None:
    for file in (model_folder / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = tmp_path / "detector.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(bytes(content))
    with pytest.raises(HarmoniadError, match="changed since it was trained"):
        Inspector.load(tmp_path, "cpu")
    tensors.unlink()
    with pytest.raises(HarmoniadError, match="missing or changed"):
        Inspector.load(tmp_path, "cpu")
