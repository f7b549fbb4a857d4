from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harmoniad.features.encoders import EncoderSpec
from harmoniad.files import read_json
from harmoniad.models.detector import detector_class
from harmoniad.models.storage import TrainedModel, load_model, save_model
from harmoniad.models.warm_start import start_from
from harmoniad.params import Params
from tests.models.features import PatternFeatures

CPU = torch.device("cpu")
ENCODER = EncoderSpec("timm:tf_efficientnet_lite0", "embedded", "0" * 64, 256, (2, 3))
SMALL: dict[str, Any] = {"width": 16, "heads": 2, "blocks": 1}
NO_NETWORK = {"head": False, "memory_patches": 20}


def settings(name: str, design: dict[str, Any] | None = None, **train: Any) -> Params:
    detector = {"name": name, **({name: design} if design else {})}
    return Params.model_validate({"detector": detector, "train": {"steps": 4, "batch_size": 4, **train}})


def save(folder: Path, params: Params, started_from: str | None = None) -> TrainedModel:
    features = PatternFeatures(8)
    detector = detector_class(params.detector.name).create(features.shapes, params)
    detector.fit(features, device=CPU, checkpoint=folder.with_suffix(".safetensors"))
    model = TrainedModel(params.detector.name, detector, ENCODER, ["a", "b"], "data", 0, started_from=started_from)
    save_model(folder, model)
    return model


@pytest.mark.parametrize(
    ("name", "design"),
    [
        ("dinomaly", SMALL),
        ("inp_former", SMALL),
        ("harmoniad", {**SMALL, **NO_NETWORK, "reconstruction": True}),
        ("harmoniad", {**SMALL, "head": True, "feature_defects": True, "head_steps": 2, "memory_patches": 20}),
    ],
)
def test_the_networks_start_from_the_weights(tmp_path: Path, name: str, design: dict[str, Any]) -> None:
    params = settings(name, design)
    trained = save(tmp_path / "model", params)
    detector = detector_class(name).create(PatternFeatures.shapes, params)
    start = start_from(tmp_path / "model", detector, PatternFeatures.shapes, ENCODER, params)
    assert start.sha256 == read_json(tmp_path / "model/model.json")["detector_sha256"]
    assert start.line == "warm start from the champion's weights"
    weights = {key: value for key, value in trained.detector.tensors().items() if key.startswith(("network.", "head."))}
    assert weights
    for key, value in weights.items():
        assert torch.equal(dict(_networks(detector))[key], value), key


def _networks(detector: Any) -> Any:
    for prefix, module in (("network", detector._network), ("head", getattr(detector, "_head", None))):
        if module is not None:
            yield from ((f"{prefix}.{name}", value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("params", "encoder", "why"),
    [
        (settings("patchcore"), ENCODER, "it is a dinomaly, not a patchcore"),
        (settings("dinomaly", {**SMALL, "width": 24}), ENCODER, "detector.dinomaly.width was 16"),
        (settings("dinomaly", SMALL), replace(ENCODER, resolution=224), "it looks through another encoder"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, params: Params, encoder: EncoderSpec, why: str) -> None:
    save(tmp_path / "model", settings("dinomaly", SMALL))
    detector = detector_class(params.detector.name).create(PatternFeatures.shapes, params)
    start = start_from(tmp_path / "model", detector, PatternFeatures.shapes, encoder, params)
    assert start.sha256 is None
    assert start.line == f"from scratch, the champion's weights cannot be used: {why}"


def test_other_channels_do_not_fit(tmp_path: Path) -> None:
    params = settings("dinomaly", SMALL)
    save(tmp_path / "model", params)
    shapes = ((16, 8, 8), (20, 4, 4))
    detector = detector_class("dinomaly").create(shapes, params)
    assert "other shapes" in start_from(tmp_path / "model", detector, shapes, ENCODER, params).line


@pytest.mark.parametrize(("name", "design"), [("patchcore", None), ("harmoniad", NO_NETWORK)])
def test_a_detector_without_networks_starts_from_scratch(
    tmp_path: Path, name: str, design: dict[str, Any] | None
) -> None:
    params = settings(name, design)
    save(tmp_path / "model", params)
    detector = detector_class(name).create(PatternFeatures.shapes, params)
    start = start_from(tmp_path / "model", detector, PatternFeatures.shapes, ENCODER, params)
    assert start.sha256 is None
    assert start.line.endswith("trained by gradient")


def test_without_a_champion_it_starts_from_scratch(tmp_path: Path) -> None:
    params = settings("dinomaly", SMALL)
    detector = detector_class("dinomaly").create(PatternFeatures.shapes, params)
    start = start_from(tmp_path, detector, PatternFeatures.shapes, ENCODER, params)
    assert (start.sha256, start.line) == (None, "from scratch: there is no champion yet")


def test_the_option_leaves_no_trace_in_a_model_that_did_not_use_it(tmp_path: Path) -> None:
    save(tmp_path / "off", settings("dinomaly", SMALL))
    save(tmp_path / "on", settings("dinomaly", SMALL, warm_start=True))
    for file in ("model.json", "detector.safetensors"):
        assert (tmp_path / "off" / file).read_bytes() == (tmp_path / "on" / file).read_bytes()
    description = read_json(tmp_path / "off/model.json")
    assert "started_from" not in description
    assert "warm_start" not in description["detector"]["config"]["train"]
    save(tmp_path / "warm", settings("dinomaly", SMALL), started_from="1" * 64)
    assert load_model(tmp_path / "warm", CPU).started_from == "1" * 64
