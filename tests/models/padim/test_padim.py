from pathlib import Path

import pytest
import torch

from harmoniad.errors import HarmoniadError
from harmoniad.models.padim.detector import PadimDetector
from harmoniad.params import Params
from tests.models.features import PatternFeatures, with_anomaly

CPU = torch.device("cpu")


def fitted(count: int = 20, seed: int = 0, **design: object) -> PadimDetector:
    features = PatternFeatures(count)
    detector = PadimDetector.create(
        features.shapes, Params.model_validate({"seed": seed, "detector": {"padim": {"channels": 10, **design}}})
    )
    assert detector.fit(features, device=CPU, checkpoint=Path("unused")) == []
    return detector


def test_an_anomaly_stands_out_where_it_is() -> None:
    detector, fresh = fitted(joint=False), PatternFeatures(4, seed=7).batch([0, 1])
    normal = detector.anomaly_maps(fresh, ["a", "b"])
    strange = detector.anomaly_maps(with_anomaly(fresh), ["a", "b"])
    assert normal.shape == (2, 8, 8)
    assert strange[:, :2, :2].min() > 1.5 * normal.max()
    torch.testing.assert_close(strange[:, 4:, 4:], normal[:, 4:, 4:])


def test_one_gaussian_over_all_categories_takes_them_all_for_normal() -> None:
    detector, fresh = fitted(joint=True), PatternFeatures(4, seed=7).batch([0, 1])
    normal, strange = detector.anomaly_maps(fresh), detector.anomaly_maps(with_anomaly(fresh))
    assert detector.config()["gaussians"] == ["all categories"]
    assert strange[:, :2, :2].min() > normal.max()


def test_the_channels_are_drawn_from_all_layers_by_the_seed() -> None:
    channels = fitted(seed=3).tensors()["channels"]
    assert len(channels.unique()) == 10
    assert (channels < 12).any()
    assert (channels >= 12).any()
    assert torch.equal(channels, fitted(seed=3).tensors()["channels"])
    assert not torch.equal(channels, fitted(seed=4).tensors()["channels"])
    assert fitted(channels=500).tensors()["channels"].tolist() == list(range(32))  # there are no more


@pytest.mark.parametrize(("grid", "side"), [(0, 8), (4, 4), (16, 16)])
def test_the_grid(grid: int, side: int) -> None:
    detector = fitted(grid=grid)
    assert detector.anomaly_maps(PatternFeatures(3).batch([0, 1, 2])).shape == (3, side, side)


def test_the_grid_is_bounded() -> None:
    settings = Params.model_validate({"detector": {"name": "padim"}})
    assert PadimDetector.create(((3, 100, 100),), settings)._grid == 32


def test_memory_does_not_grow_with_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    read = PatternFeatures.batch

    def batch(self: PatternFeatures, indices: list[int]) -> list[torch.Tensor]:
        asked.append(len(indices))
        return read(self, indices)

    monkeypatch.setattr(PatternFeatures, "batch", batch)
    fitted(50)
    assert sum(asked) == 50  # each image once
    assert max(asked) == 16


def test_gaussians_a_category() -> None:
    detector = fitted(joint=False)
    assert detector.config()["gaussians"] == ["a", "b"]
    batch = PatternFeatures(3, seed=3).batch([0, 1, 2])
    right, wrong = detector.anomaly_maps(batch, ["a", "b", "a"]), detector.anomaly_maps(batch, ["b", "a", "b"])
    assert right.max() < wrong.min()
    torch.testing.assert_close(right[1:2], detector.anomaly_maps([layer[1:2] for layer in batch], ["b"]))
    with pytest.raises(HarmoniadError, match=r"no Gaussians for category `c`\. Known: a, b"):
        detector.anomaly_maps(batch, ["a", "c", "a"])
    with pytest.raises(HarmoniadError, match=r"each image needs its category\. Known: a, b"):
        detector.anomaly_maps(batch)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(HarmoniadError, match=r"^padim: all categories: fewer than 2 .* Add good images\.$"):
        fitted(1)
    with pytest.raises(HarmoniadError, match=r"padim: b: fewer than 2 .* or set `detector\.padim\.joint: true`"):
        fitted(3, joint=False)


def test_too_much_memory_is_refused_before_it_is_taken() -> None:
    with pytest.raises(HarmoniadError, match=r"32 channels at 1000x1000 positions need 11\.4 GiB\. Lower"):
        fitted(channels=500, grid=1000)


@pytest.mark.parametrize("joint", [True, False])
def test_what_is_saved_is_restored(joint: bool) -> None:
    detector = fitted(joint=joint)
    again = PadimDetector.restore(detector.config(), detector.tensors())
    batch = PatternFeatures(2, seed=3).batch([0, 1])
    assert torch.equal(detector.anomaly_maps(batch, ["a", "b"]), again.anomaly_maps(batch, ["a", "b"]))
    assert again.config() == detector.config()
