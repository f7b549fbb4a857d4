import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from harmoniad.errors import HarmoniadError
from harmoniad.models import training
from harmoniad.models.harmoniad.detector import HarmoniadDetector
from harmoniad.models.harmoniad.earned import FusionWeights
from harmoniad.params import Params
from tests.models.features import PatternFeatures, SyntheticFeatures, with_anomaly

CPU = torch.device("cpu")
ALL = ["memory", "high", "head", "low", "place"]
MEMORY_ONLY: dict[str, object] = {"bands": False, "place": False, "head": False}
RECONSTRUCTION_ONLY: dict[str, object] = {"reconstruction": True, "memory": False, **MEMORY_ONLY}


def params(design: dict[str, object] | None = None, **train: object) -> Params:
    small = {"width": 16, "heads": 2, "blocks": 2, "memory_patches": 200, "head_steps": 12}
    return Params.model_validate(
        {
            "detector": {"harmoniad": {**small, **(design or {})}},
            "train": {"steps": 12, "batch_size": 4, "warmup_steps": 3, "hard_mining_steps": 10, **train},
        }
    )


def fitted(settings: Params, checkpoint: Path, count: int = 10, **features: Any) -> HarmoniadDetector:
    detector = HarmoniadDetector.create(PatternFeatures.shapes, settings)
    good, made = PatternFeatures(count, **features), SyntheticFeatures(count, **features)
    detector.fit(good, synthetic=made, device=CPU, checkpoint=checkpoint)
    return detector


def restored(detector: HarmoniadDetector) -> HarmoniadDetector:
    """As from the files of a model."""
    return HarmoniadDetector.restore(json.loads(json.dumps(detector.config())), load(save(detector.tensors())))


def assert_it_sees(detector: HarmoniadDetector, categories: Sequence[str] = ("a", "b")) -> None:
    fresh = PatternFeatures(4, categories, seed=7).batch([0, 1])
    normal, strange = detector.anomaly_maps(fresh), detector.anomaly_maps(with_anomaly(fresh))
    assert normal.shape == (2, 8, 8)
    assert strange[:, :2, :2].mean() > normal.amax() + 1  # in mean excesses of good images
    assert strange[:, :2, :2].mean() > strange[:, 4:, 4:].amax() + 1


@pytest.mark.parametrize(
    ("design", "maps"),
    [
        ({}, ALL),
        (MEMORY_ONLY, ["memory"]),
        ({"bands": False}, ["memory", "head", "place"]),
        ({"place": False}, ["memory", "high", "head", "low"]),
        ({"head": False}, ["memory", "high", "low", "place"]),
        ({"fusion": "equal"}, ALL),
        ({"gate": "hard"}, ALL),
        ({"gate": "gaussian"}, ALL),
        ({"gate": "content"}, ALL),
        ({"split": False}, ALL),
        ({"fsam": False}, ALL),
        ({"gscm": False}, ALL),
        ({"fsam": False, "gscm": False, "split": False, "bands": False}, ["memory", "head", "place"]),
        ({"norm": "channel", "memory_channels": 7}, ALL),
        ({"feature_defects": True}, ALL),
        ({"reconstruction": True}, [*ALL, "reconstruction"]),
        ({"reconstruction": True, "norm": "channel", "gate": "content"}, [*ALL, "reconstruction"]),
        (RECONSTRUCTION_ONLY, ["reconstruction"]),
    ],
    ids=str,
)
def test_with_every_switch_it_learns_what_is_normal_and_is_restored_bit_by_bit(
    tmp_path: Path, design: dict[str, object], maps: list[str]
) -> None:
    detector = fitted(params({"head_steps": 60, **design}, steps=60), tmp_path / "c")
    if len(maps) > 1:
        assert_it_sees(detector)
    weights = detector.config()["map_weights"]
    assert list(weights) == (["any"] if design == RECONSTRUCTION_ONLY else ["a", "b", "any"])
    for row in weights.values():
        assert list(row) == maps
        assert sum(row.values()) == pytest.approx(1, abs=0.003)
        assert design.get("fusion") != "equal" or set(row.values()) == {1 / len(maps)}

    batch = with_anomaly(PatternFeatures(3, seed=5).batch([0, 1, 2]))
    again = restored(detector)
    assert torch.equal(detector.anomaly_maps(batch), again.anomaly_maps(batch))
    assert again.config() == detector.config()
    assert not (tmp_path / "c-head").exists()


def test_the_memory_alone_gives_the_distance(tmp_path: Path) -> None:
    detector, fresh = fitted(params(MEMORY_ONLY), tmp_path / "c"), PatternFeatures(4, seed=7).batch([0, 1])
    normal, strange = detector.anomaly_maps(fresh), detector.anomaly_maps(with_anomaly(fresh))
    assert normal.min() >= 0  # a distance, in no other unit
    assert strange[:, :2, :2].mean() > 1.5 * normal.mean()
    assert detector.tensors()["memory.tokens"].shape == (200, 32)


def test_the_reconstruction_alone_gives_its_own_map(tmp_path: Path) -> None:
    settings, features = params(RECONSTRUCTION_ONLY, steps=150), PatternFeatures(10)
    detector = HarmoniadDetector.create(features.shapes, settings)
    log = detector.fit(features, device=CPU, checkpoint=tmp_path / "c")
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    fresh = PatternFeatures(4, seed=7).batch([0, 1])
    normal, strange = detector.anomaly_maps(fresh), detector.anomaly_maps(with_anomaly(fresh))
    assert normal.min() >= 0
    assert strange[:, :2, :2].mean() > 1.5 * normal.mean()


def test_fused_maps_of_good_images_have_their_highest_values_near_0(tmp_path: Path) -> None:
    detector = fitted(params({"head_steps": 60, "memory_patches": 10_000}), tmp_path / "c")
    normal = detector.anomaly_maps(PatternFeatures(8, seed=7).batch(range(8)))
    assert normal.flatten().quantile(0.5) < 0
    assert normal.flatten().quantile(0.99) < 2


def test_the_maps_are_fused_by_the_category_that_the_image_is_most_like(tmp_path: Path) -> None:
    detector, layers = fitted(params(), tmp_path / "c"), PatternFeatures(4, seed=7).batch([0, 1, 2, 3])
    with torch.no_grad():
        maps, category = detector._maps(layers)
    assert category is not None
    assert category.tolist() == [0, 1, 0, 1]
    memory, high, head, *_ = maps  # by Parseval a band has no more than the whole
    assert (high.square().sum((1, 2)) <= memory.square().sum((1, 2)) * 1.001).all()

    level, excess = torch.tensor([[1.0, 2, 3, 4, 5]] * 3), torch.full((3, 5), 2.0)
    detector._fusion = FusionWeights(level, excess, torch.eye(5)[[0, 2, 1]])
    expected = torch.stack([(memory[0] - 1) / 2, (head[1] - 3) / 2, (memory[2] - 1) / 2, (head[3] - 3) / 2])
    torch.testing.assert_close(detector.anomaly_maps(layers), expected)


def test_no_category_is_told_to_it(tmp_path: Path) -> None:
    detector, layers = fitted(params(), tmp_path / "c"), PatternFeatures(2, seed=7).batch([0, 1])
    found = detector.anomaly_maps(layers)
    assert torch.equal(detector.anomaly_maps(layers, ["b", "never seen"]), found)
    alone = detector.anomaly_maps([layer[1:] for layer in layers])
    torch.testing.assert_close(alone, found[1:], atol=1e-4, rtol=1e-4)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    settings = params({"reconstruction": True, "feature_defects": True})
    first, second = (fitted(settings, tmp_path / str(run)) for run in range(2))
    assert save(first.tensors()) == save(second.tensors())
    assert first.config() == second.config()
    other = fitted(settings.model_copy(update={"seed": 1}), tmp_path / "other").tensors()
    names = ("memory.tokens", "head.logit.weight", "network.heads.0.weight", "fusion.level")
    assert all(not torch.equal(first.tensors()[name], other[name]) for name in names)


class _Killed(BaseException):
    pass


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[None]]:
    """Kill the training at a step; gives the list of all steps that were tried."""

    def prepare(number: int) -> list[None]:
        tried: list[None] = []
        real_step = training._step

        def step(*arguments: object) -> tuple[float, dict[str, float]]:
            tried.append(None)
            if len(tried) == number:
                raise _Killed
            return real_step(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(training, "_step", step)
        return tried

    return prepare


@pytest.mark.parametrize("reconstruction", [False, True])
def test_an_interrupted_training_of_the_head_ends_as_an_uninterrupted_one(
    tmp_path: Path, kill_at: Callable[[int], list[None]], reconstruction: bool
) -> None:
    design = {"reconstruction": reconstruction, "feature_defects": True, "gate": "content"}
    settings = params(design, steps=5, checkpoint_seconds=1e-9)  # after each step
    whole = fitted(settings, tmp_path / "whole.safetensors").tensors()
    before = 5 if reconstruction else 0
    tried = kill_at(before + 7)
    with pytest.raises(_Killed):
        fitted(settings, tmp_path / "stopped.safetensors")
    assert (tmp_path / "stopped-head.safetensors").is_file()
    resumed = fitted(settings, tmp_path / "stopped.safetensors").tensors()
    assert len(tried) == before + 7 + 6  # six of the head's twelve were kept, and all of the reconstruction's
    assert not (tmp_path / "stopped-head.safetensors").exists()
    assert save(whole) == save(resumed)


def test_an_interrupted_training_of_the_reconstruction_ends_as_an_uninterrupted_one(
    tmp_path: Path, kill_at: Callable[[int], list[None]]
) -> None:
    settings = params({"reconstruction": True}, checkpoint_seconds=1e-9)
    whole = fitted(settings, tmp_path / "whole").tensors()
    tried = kill_at(7)
    with pytest.raises(_Killed):
        fitted(settings, tmp_path / "stopped")
    resumed = fitted(settings, tmp_path / "stopped").tensors()
    assert len(tried) == 7 + 6 + 12  # six were kept; twelve of the head
    assert save(whole) == save(resumed)


def test_a_diverging_training_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"Lower train\.learning_rate"):
        fitted(params(RECONSTRUCTION_ONLY, learning_rate=1e30, warmup_steps=0), tmp_path / "c")


def test_a_head_without_made_defects_says_what_to_set(tmp_path: Path) -> None:
    features = PatternFeatures(4)
    detector = HarmoniadDetector.create(features.shapes, params())
    with pytest.raises(HarmoniadError, match=r"detector\.harmoniad\.head: .* Set views\.synthetic to 1 or more"):
        detector.fit(features, device=CPU, checkpoint=tmp_path / "c")


@pytest.mark.parametrize("design", [{"feature_defects": True, "head_steps": 60}, {"head": False}], ids=str)
def test_what_does_without_made_defects(tmp_path: Path, design: dict[str, object]) -> None:
    features = PatternFeatures(10)
    detector = HarmoniadDetector.create(features.shapes, params(design))
    detector.fit(features, device=CPU, checkpoint=tmp_path / "c")
    assert_it_sees(detector)
    for row in detector.config()["map_weights"].values():
        assert len(set(row.values())) == 1  # there is nothing to earn a weight by


@pytest.mark.parametrize(
    ("count", "categories"), [(2, "a"), (2, "ab"), (3, "ab"), (4, "a"), (4, "ab"), (4, "abcd"), (9, "a")]
)
def test_few_images_and_few_categories(tmp_path: Path, count: int, categories: str) -> None:
    detector = fitted(params({"head_steps": 60}), tmp_path / "c", count=count, categories=list(categories))
    batch = PatternFeatures(4, list(categories), seed=7).batch([0, 1])
    assert detector.anomaly_maps(batch).isfinite().all()
    assert set(detector.config()["map_weights"]) == {*categories, "any"}
    assert torch.equal(restored(detector).anomaly_maps(batch), detector.anomaly_maps(batch))
    if count >= 2 * len(categories):  # each image has another to be compared with
        assert_it_sees(detector, list(categories))


def test_a_single_image_is_too_few_for_a_gaussian(tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match="fewer than 2 training images"):
        fitted(params(), tmp_path / "c", count=1, categories=["a"])
    assert fitted(params({"place": False}), tmp_path / "c", count=1, categories=["a"])


class Twins:
    """Each image has two views, which look the same."""

    def __init__(self, features: PatternFeatures, images: Sequence[str]) -> None:
        self._features, self.images = features, images
        self.shapes, self.categories = features.shapes, [c for c in features.categories for _ in range(2)]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> list[torch.Tensor]:
        return self._features.batch([index // 2 for index in indices])


def test_views_of_an_image_are_left_out_together(tmp_path: Path) -> None:
    def usual_distance(images: list[str]) -> float:
        features = Twins(PatternFeatures(6), images)
        detector = HarmoniadDetector.create(features.shapes, params({"head": False, "memory_patches": 10_000}))
        detector.fit(features, device=CPU, checkpoint=tmp_path / "c")
        return detector.tensors()["fusion.level"][-1, 0].item()

    assert usual_distance([str(index) for index in range(12)]) < 0.01  # each finds its twin
    assert usual_distance([str(index // 2) for index in range(12)]) > 0.1


def test_a_copy_is_not_compared_with_the_image_it_was_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unchanged(SyntheticFeatures):
        """Copies in another order than their images', in which nothing was changed."""

        def __init__(self, count: int) -> None:
            super().__init__(count)
            self.images, self.categories = self.images[::-1], self.categories[::-1]
            self._layers = [layer.flip(0) for layer in self._layers]

        def batch(self, indices: Sequence[int]) -> list[torch.Tensor]:
            return PatternFeatures.batch(self, indices)

    features = PatternFeatures(8)
    detector = HarmoniadDetector.create(features.shapes, params({"head": False, "memory_patches": 10_000}))
    seen, real = [], detector._maps_of_deviation

    def remember(deviation: torch.Tensor) -> list[torch.Tensor]:
        seen.append(deviation)
        return real(deviation)

    monkeypatch.setattr(detector, "_maps_of_deviation", remember)
    detector.fit(features, synthetic=Unchanged(8), device=CPU, checkpoint=tmp_path / "c")
    good, made = torch.cat(seen).split(8)
    assert torch.equal(good, made.flip(0))  # what looks the same is measured the same
    assert good.norm(dim=1).min() > 0.05
