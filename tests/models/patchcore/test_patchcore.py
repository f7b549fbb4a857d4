from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from harmoniad.errors import HarmoniadError
from harmoniad.models.patchcore.detector import PatchcoreDetector
from harmoniad.params import Params
from tests.models.features import PatternFeatures, with_anomaly

CPU = torch.device("cpu")


def fitted(**design: object) -> PatchcoreDetector:
    features = PatternFeatures(6)
    detector = PatchcoreDetector.create(
        features.shapes, Params.model_validate({"detector": {"patchcore": {"coreset": 1.0, **design}}})
    )
    assert detector.fit(features, device=CPU, checkpoint=Path("unused")) == []
    return detector


def test_the_map_is_the_distance_to_the_nearest_patch() -> None:
    detector = fitted()
    features = PatternFeatures(6)

    def patches(layers: list[torch.Tensor]) -> torch.Tensor:
        pooled = [F.avg_pool2d(layer, 3, 1, 1) for layer in layers]
        resized = [F.interpolate(layer, size=(8, 8), mode="bilinear", align_corners=False) for layer in pooled]
        return torch.cat(resized, 1).permute(0, 2, 3, 1).reshape(len(layers[0]), 64, -1)

    bank = patches(features.batch(range(6))).reshape(-1, 32)
    query = PatternFeatures(4, seed=3).batch([0, 1])
    expected = (patches(query)[:, :, None] - bank[None, None]).norm(dim=-1).min(-1).values.view(2, 8, 8)
    torch.testing.assert_close(detector.anomaly_maps(query), expected, atol=2e-3, rtol=1e-3)


def test_an_anomaly_stands_out() -> None:
    detector, fresh = fitted(coreset=0.2), PatternFeatures(4, seed=7).batch([0, 1])
    normal, strange = detector.anomaly_maps(fresh), detector.anomaly_maps(with_anomaly(fresh))
    assert strange[:, :2, :2].min() > 1.5 * normal.max()


def test_the_bank_is_bounded() -> None:
    detector = fitted(max_patches=30)
    assert detector.tensors()["bank.0"].shape == (30, 32)
    assert fitted(max_patches=3).tensors()["bank.0"].shape == (3, 32)  # fewer than images


def test_a_bank_a_category() -> None:
    detector = fitted(joint=False)
    assert detector.config()["banks"] == ["a", "b"]
    batch = PatternFeatures(2, seed=3).batch([0, 1])
    right, wrong = detector.anomaly_maps(batch, ["a", "b"]), detector.anomaly_maps(batch, ["b", "a"])
    assert right.max() < wrong.min()
    with pytest.raises(HarmoniadError, match=r"no memory bank for category `c`\. Known: a, b"):
        detector.anomaly_maps(batch, ["a", "c"])


@pytest.mark.parametrize("joint", [True, False])
def test_what_is_saved_is_restored(joint: bool) -> None:
    detector = fitted(joint=joint, coreset=0.3)
    again = PatchcoreDetector.restore(detector.config(), detector.tensors())
    batch = PatternFeatures(2, seed=3).batch([0, 1])
    assert torch.equal(detector.anomaly_maps(batch, ["a", "b"]), again.anomaly_maps(batch, ["a", "b"]))
