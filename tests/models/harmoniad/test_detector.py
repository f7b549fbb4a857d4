from pathlib import Path

import pytest
import torch

from harmoniad.errors import HarmoniadError
from harmoniad.models.harmoniad.detector import HarmoniadDetector
from harmoniad.models.reconstruction import training
from harmoniad.params import Params
from tests.models.features import PatternFeatures, with_anomaly

CPU = torch.device("cpu")


def params(design: dict[str, object] | None = None, **train: object) -> Params:
    design = design or {}
    return Params.model_validate(
        {
            "detector": {"harmoniad": {"width": 16, "heads": 2, "blocks": 2, "memory_patches": 30, **design}},
            "train": {"steps": 12, "batch_size": 4, "warmup_steps": 3, "hard_mining_steps": 10, **train},
        }
    )


def fitted(settings: Params, checkpoint: Path) -> HarmoniadDetector:
    features = PatternFeatures(10)
    detector = HarmoniadDetector.create(features.shapes, settings)
    detector.fit(features, device=CPU, checkpoint=checkpoint)
    return detector


@pytest.mark.parametrize("design", [{"memory": False}, {"memory": True}, {"memory": False, "norm": "channel"}])
def test_it_learns_what_is_normal(tmp_path: Path, design: dict[str, object]) -> None:
    settings = params(design, steps=150)
    features = PatternFeatures(10)
    detector = HarmoniadDetector.create(features.shapes, settings)
    log = detector.fit(features, device=CPU, checkpoint=tmp_path / "c")
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    fresh = PatternFeatures(4, seed=7).batch([0, 1])
    normal, strange = detector.anomaly_maps(fresh), detector.anomaly_maps(with_anomaly(fresh))
    assert normal.shape == (2, 8, 8)
    assert abs(normal.mean()) < 2  # in standard deviations of normal images
    assert strange[:, :2, :2].mean() > normal.mean() + 1


def test_the_memory_is_fused_with_the_reconstruction(tmp_path: Path) -> None:
    detector = fitted(params({"memory_weight": 0.75}), tmp_path / "c")
    layers = PatternFeatures(4, seed=7).batch([0, 1])
    scale = detector.tensors()["memory.scale"]
    with torch.no_grad():
        reconstruction, memory = detector._raw_maps(layers)
    reconstruction = (reconstruction - scale[0, 0]) / scale[0, 1]
    memory = (memory - scale[1, 0]) / scale[1, 1]
    expected = 0.25 * reconstruction + 0.75 * memory
    torch.testing.assert_close(detector.anomaly_maps(layers), expected)
    assert detector.tensors()["memory.bank"].shape == (30, 32)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (fitted(params(), tmp_path / "c").tensors() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = fitted(params().model_copy(update={"seed": 1}), tmp_path / "c").tensors()
    assert any(not torch.equal(first[name], other[name]) for name in first)


class _Killed(BaseException):
    pass


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = params(checkpoint_seconds=1e-9)  # after each step
    whole = fitted(settings, tmp_path / "whole").tensors()

    steps = 0
    real_step = training._step

    def stop_at_the_seventh(*arguments: object) -> tuple[float, dict[str, float]]:
        nonlocal steps
        steps += 1
        if steps == 7:
            raise _Killed
        return real_step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_step", stop_at_the_seventh)
    with pytest.raises(_Killed):
        fitted(settings, tmp_path / "stopped")
    resumed = fitted(settings, tmp_path / "stopped").tensors()
    assert steps == 7 + 6  # six were kept
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_what_is_saved_is_restored(tmp_path: Path) -> None:
    detector = fitted(params(), tmp_path / "c")
    again = HarmoniadDetector.restore(detector.config(), detector.tensors())
    batch = PatternFeatures(3, seed=5).batch([0, 1, 2])
    assert torch.equal(detector.anomaly_maps(batch), again.anomaly_maps(batch))
    assert again.config() == detector.config()


def test_a_diverging_training_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"Lower train\.learning_rate"):
        fitted(params(learning_rate=1e30, warmup_steps=0), tmp_path / "c")
