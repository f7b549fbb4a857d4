from pathlib import Path

import pytest
import torch

from harmoniad.models.dinomaly.detector import DinomalyDetector
from harmoniad.models.harmoniad.detector import HarmoniadDetector
from harmoniad.models.reconstruction.network import ReconstructionNetwork
from harmoniad.params import Params
from tests.models.features import PatternFeatures, with_anomaly

CPU = torch.device("cpu")
DESIGN = {"width": 16, "heads": 2, "blocks": 2}


def params(steps: int = 12, **design: object) -> Params:
    shared = {**DESIGN, **design}
    only_head_1 = {
        "reconstruction": True,
        "split": False,
        "memory": False,
        "bands": False,
        "place": False,
        "head": False,
    }
    return Params.model_validate(
        {
            "detector": {"dinomaly": shared, "harmoniad": {**shared, **only_head_1}},
            "train": {"steps": steps, "batch_size": 4, "warmup_steps": 3, "hard_mining_steps": 10},
        }
    )


def fitted(settings: Params, checkpoint: Path, count: int = 8) -> DinomalyDetector:
    features = PatternFeatures(count)
    detector = DinomalyDetector.create(features.shapes, settings)
    detector.fit(features, device=CPU, checkpoint=checkpoint)
    return detector


@pytest.mark.parametrize("design", [{}, {"norm": "channel", "grid": 4, "groups": 1, "dropout": 0.4}])
def test_it_is_harmoniad_without_its_frequency_part(tmp_path: Path, design: dict[str, object]) -> None:
    settings, features = params(**design), PatternFeatures(8)
    dinomaly = DinomalyDetector.create(features.shapes, settings)
    harmoniad = HarmoniadDetector.create(features.shapes, settings)
    log = dinomaly.fit(features, device=CPU, checkpoint=tmp_path / "c")
    assert log == harmoniad.fit(features, device=CPU, checkpoint=tmp_path / "c")

    learned, same = dinomaly.tensors(), harmoniad.tensors()
    assert all(torch.equal(learned[name], same[name]) for name in learned)
    assert {name for name in same if name.startswith("network.")} == set(learned)

    layers = PatternFeatures(3, seed=7).batch([0, 1, 2])
    assert torch.equal(dinomaly.anomaly_maps(layers), harmoniad.anomaly_maps(layers))


def test_it_learns_what_is_normal(tmp_path: Path) -> None:
    detector, fresh = fitted(params(150), tmp_path / "c", count=10), PatternFeatures(4, seed=7).batch([0, 1])
    normal, strange = detector.anomaly_maps(fresh), detector.anomaly_maps(with_anomaly(fresh))
    assert normal.shape == (2, 8, 8)
    assert normal.min() >= 0
    assert strange[:, :2, :2].mean() > 1.5 * normal.mean()


def test_the_map_is_the_mean_over_the_groups(tmp_path: Path) -> None:
    detector, layers = fitted(params(grid=4), tmp_path / "c"), PatternFeatures(2, seed=7).batch([0, 1])
    network: ReconstructionNetwork = detector._network
    targets = network.targets(layers)
    predictions, _ = network(targets)
    cosines = [(t * p).sum(1) / (t.norm(dim=1) * p.norm(dim=1)) for t, p in zip(targets, predictions, strict=True)]
    torch.testing.assert_close(network.anomaly_maps(layers, 4), 1 - (cosines[0] + cosines[1]) / 2)
    assert detector.anomaly_maps(layers).shape == (2, 8, 8)  # on the finest grid


def test_what_is_saved_is_restored(tmp_path: Path) -> None:
    detector = fitted(params(norm="channel"), tmp_path / "c")
    again = DinomalyDetector.restore(detector.config(), detector.tensors())
    batch = PatternFeatures(3, seed=5).batch([0, 1, 2])
    assert torch.equal(detector.anomaly_maps(batch), again.anomaly_maps(batch))
    assert again.config() == detector.config()
