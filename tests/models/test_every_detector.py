"""What every detector keeps, whatever its method: it learns, saves, resumes, and gives the same again.

The features are tiny, and so is the CLIP whose text tower some detectors take.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harmoniad.models import training
from harmoniad.models.designs import DETECTORS
from harmoniad.models.detector import Detector, detector_class
from harmoniad.params import Params
from tests.features.tiny_clip import encoder_of, save_tiny_clip
from tests.models.features import PatternFeatures, SyntheticFeatures, with_anomaly

CPU = torch.device("cpu")
STEPS = 100
DESIGNS: dict[str, dict[str, Any]] = {
    "harmoniad": {"width": 16, "heads": 2, "head_steps": 30},
    "padim": {"channels": 10},
    "ssmctb": {"width": 64, "channel_width": 8, "grid": 8},
    "general_ad": {"width": 32, "grid": 8},
    "dasvdd": {"width": 64, "code": 8, "grid": 8},
    "denoising_autoencoder": {"width": 32, "blocks": 2, "grid": 8},
    "latent_perturbation": {"width": 32, "grid": 8},
    "mem_aae": {"width": 64, "grid": 8},
    "bi_flow": {"width": 32, "grid": 8},
    "ada_gad": {"width": 32, "grid": 8},
    **{key: {"width": 16, "heads": 2, "blocks": 2, "grid": 8} for key in ("dinomaly", "inp_former", "cnc")},
}
"""Only what makes a detector quick enough; a new one needs no entry."""


@pytest.fixture(scope="module", autouse=True)
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Weights of an encoder with a text tower, known to open_clip for the length of this file."""
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        save_tiny_clip(path, patch)
        yield path
    trained.cache_clear()


def params_of(name: str, clip: Path, **train: Any) -> Params:
    optimisation = {"steps": STEPS, "batch_size": 4, "warmup_steps": 3, **train}
    sections = {"detector": {"name": name, name: DESIGNS.get(name, {})}, "train": optimisation}
    return Params.model_validate({**sections, "encoder": encoder_of(clip).model_dump()})


def fitted(params: Params, checkpoint: Path) -> Detector:
    features = PatternFeatures(10)
    detector = detector_class(params.detector.name).create(features.shapes, params)
    detector.fit(features, synthetic=SyntheticFeatures(10), device=CPU, checkpoint=checkpoint)
    return detector


@cache
def trained(name: str, clip: Path) -> Detector:
    return fitted(params_of(name, clip), clip.with_name(f"{name}.checkpoint"))


def scored(detector: Detector, layers: list[Tensor]) -> Tensor:
    return detector.anomaly_maps(layers, ["a", "b", "a", "b"][: len(layers[0])])


@pytest.mark.parametrize("name", DETECTORS)
def test_a_deviation_is_found(name: str, clip: Path) -> None:
    fresh = PatternFeatures(4, seed=7).batch([0, 1, 2, 3])
    normal, strange = scored(trained(name, clip), fresh), scored(trained(name, clip), with_anomaly(fresh))
    assert normal.shape == strange.shape
    side = normal.shape[-1]
    assert normal.shape == (4, side, side)
    corner = strange[:, : side // 4, : side // 4]
    assert corner.mean() > normal.mean() + 1.5 * normal.std(), (corner.mean(), normal.mean(), normal.std())


@pytest.mark.parametrize("name", DETECTORS)
def test_what_is_saved_is_restored(name: str, clip: Path) -> None:
    detector = trained(name, clip)
    again = detector_class(name).restore(detector.config(), detector.tensors())
    layers = with_anomaly(PatternFeatures(4, seed=5).batch([0, 1, 2, 3]))
    assert torch.equal(scored(detector, layers), scored(again, layers))
    assert again.config() == detector.config()
    assert all(torch.equal(tensor, again.tensors()[key]) for key, tensor in detector.tensors().items())


@pytest.mark.parametrize("name", DETECTORS)
def test_one_image_scores_as_among_others(name: str, clip: Path) -> None:
    detector, layers = trained(name, clip), with_anomaly(PatternFeatures(4, seed=5).batch([0, 1, 2, 3]))
    alone = torch.cat([detector.anomaly_maps([layer[i : i + 1] for layer in layers], ["ab"[i % 2]]) for i in range(4)])
    torch.testing.assert_close(alone, scored(detector, layers), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", DETECTORS)
def test_an_interrupted_training_gives_the_bytes_of_an_uninterrupted_one(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = params_of(name, clip, steps=6)
    whole = fitted(params, tmp_path / "whole").tensors()

    save, saved = training._save, []

    def save_and_stop(path: Path, *rest: Any) -> None:
        save(path, *rest)
        saved.append(path)
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", save_and_stop)
    often = params_of(name, clip, steps=6, checkpoint_seconds=1e-9)
    try:
        resumed = fitted(often, tmp_path / "c")
    except KeyboardInterrupt:
        resumed = fitted(often, tmp_path / "c")
    resumed_tensors = resumed.tensors()
    assert set(resumed_tensors) == set(whole)
    assert all(torch.equal(tensor, resumed_tensors[key]) for key, tensor in whole.items())
    assert len(saved) == 0 or len(saved) > 3  # not trained by gradient, or really gone on with
