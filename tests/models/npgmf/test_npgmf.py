from pathlib import Path
from typing import Any

import pytest
import torch

from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import Encoder, EncoderSpec
from harmoniad.models.npgmf import composition
from harmoniad.models.npgmf.design import Npgmf
from harmoniad.models.npgmf.detector import NpgmfDetector
from harmoniad.models.npgmf.network import CodePrior, LogicalNetwork
from harmoniad.params import Params
from tests.features.tiny_clip import encoder_of, save_tiny_clip
from tests.models.features import PatternFeatures, with_anomaly

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BOOKS": 1, "CODES": 16, "REGIONS": 3, "FITTING_STEPS": 10}.items():
        monkeypatch.setattr(composition, name, value)


def fitted(tmp_path: Path, features: PatternFeatures | None = None, **sections: Any) -> NpgmfDetector:
    features = features or PatternFeatures(16)
    design = {"width": 16, "codes": 32, "memory_patches": 100, **sections.pop("design", {})}
    train = {"steps": 12, "batch_size": 4, "warmup_steps": 3}
    params = Params.model_validate({"detector": {"npgmf": design}, "train": train, **sections})
    detector = NpgmfDetector.create(features.shapes, params)
    log = detector.fit(features, device=CPU, checkpoint=tmp_path / "c.safetensors")
    assert all(row["loss"] < 9 for row in log)
    return detector


@pytest.mark.parametrize(
    "design",
    [
        {"prior": "none", "composition": False, "by_place": False},
        {"codebooks": False, "structural": "reconstruction", "fusion": "maximum"},
        {"logical": False, "structural": "none"},
        {"code_use": "pooled", "joint": False, "structural": "none"},
    ],
)
def test_each_choice_of_the_design(design: dict[str, Any], tmp_path: Path) -> None:
    detector = fitted(tmp_path, design=design)
    fresh, names = PatternFeatures(4, seed=7).batch([0, 1]), ["a", "b"]
    normal, strange = detector.anomaly_maps(fresh, names), detector.anomaly_maps(with_anomaly(fresh), names)
    assert normal.shape == (2, 8, 8)
    assert strange[:, :2, :2].mean() > normal.mean() + normal.std()
    again = NpgmfDetector.restore(detector.config(), detector.tensors())
    assert torch.equal(again.anomaly_maps(fresh, names), normal)


def test_a_single_category_and_a_single_image(tmp_path: Path) -> None:
    for count in (1, 2, 9):
        detector = fitted(tmp_path / str(count), PatternFeatures(count, categories=["a"]))
        maps = detector.anomaly_maps(PatternFeatures(1, categories=["a"], seed=3).batch([0]))
        assert maps.isfinite().all()


def test_a_joint_detector_tells_the_category_itself(tmp_path: Path) -> None:
    detector = fitted(tmp_path)
    fresh = PatternFeatures(4, seed=7).batch([0, 1, 2, 3])
    told = detector.anomaly_maps(fresh, ["b", "a", "never seen", "a"])
    assert torch.equal(told, detector.anomaly_maps(fresh))


def test_one_model_a_category_must_be_told_which(tmp_path: Path) -> None:
    detector = fitted(tmp_path, design={"joint": False, "structural": "none"})
    fresh = PatternFeatures(2, seed=7).batch([0, 1])
    for names in (None, ["a", "never seen"]):
        with pytest.raises(HarmoniadError, match=r"npgmf: no model for category `.*`\. Known: a, b\."):
            detector.anomaly_maps(fresh, names)


def test_the_text_prior_is_what_the_text_tower_makes_of_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harmoniad.features.text import text_embeddings

    weights = tmp_path / "clip.safetensors"
    save_tiny_clip(weights, monkeypatch)
    encoder = encoder_of(weights)
    features = PatternFeatures(8, categories=["metal_nut", "gear"])
    tower = {"text_encoder": encoder.name, "text_weights": encoder.weights}
    expected = text_embeddings(encoder, ["a photo of a gear", "a photo of a metal nut"])
    for sections in ({"encoder": encoder.model_dump()}, {"design": tower}):  # the encoder's own, and one beside it
        detector = fitted(tmp_path, features, **sections)
        assert torch.equal(detector.tensors()["0.logical.prior"], expected)
    weights.unlink()  # once trained, the tower is not needed
    again = NpgmfDetector.restore(detector.config(), detector.tensors())
    fresh = features.batch([0, 1])
    assert torch.equal(again.anomaly_maps(fresh), detector.anomaly_maps(fresh))


def test_a_text_prior_without_a_text_tower_is_refused() -> None:
    params = Params.model_validate({"detector": {"npgmf": {"prior": "text"}}})
    with pytest.raises(HarmoniadError, match=r"detector\.npgmf\.prior: timm:tf_efficientnet_lite0 has no text tower"):
        NpgmfDetector.create(PatternFeatures.shapes, params)


@pytest.mark.parametrize("design", [{"composition": False}, {"codebooks": False}])
def test_a_design_without_any_map_is_refused(design: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot all be off"):
        Npgmf(logical=False, structural="none", **design)


def test_the_quantised_map_never_reaches_the_decoder_place_by_place() -> None:
    """Where the image's patches lie is lost when their codes are pooled."""
    torch.manual_seed(0)
    prior = CodePrior(6, Npgmf(code_use="pooled", codes=8, width=8, bottleneck=4)).eval()
    level, vector = torch.randn(2, 6, 4, 4), torch.randn(2, 4)
    tokens = prior.tokens(level)
    order = torch.randperm(16)
    found, _, _ = prior(level, vector)
    prior.tokens = lambda level: tokens[:, order]  # type: ignore[method-assign]
    torch.testing.assert_close(prior(level, vector)[0], found)
    assert found.shape == (2, 8)


@pytest.mark.parametrize("change", [{}, {"codebooks": False}, {"prior": "none"}, {"code_use": "pooled"}, {"grid": 3}])
def test_all_of_the_network_is_learned(change: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = LogicalNetwork(((6, 8, 8), (10, 4, 4)), Npgmf(width=8, codes=16, **change), None, 2)
    levels = [torch.randn(3, 6, 8, 8), torch.randn(3, 10, 4, 4)]
    loss, logged = network.loss([*levels, torch.tensor([0, 1, 1])], 0.0)
    loss.backward()
    assert set(logged) == (set() if "codebooks" in change else {"perplexity_0", "perplexity_1"})
    assert [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def test_five_levels_of_a_residual_network(tmp_path: Path) -> None:
    """The production encoder is `timm:resnet101` with layers 0 to 4; here a small one of its kind, untrained."""
    import numpy as np
    import timm
    from safetensors.torch import save_file

    weights = tmp_path / "resnet.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("resnet10t", pretrained=False).state_dict(), weights)
    params = Params.model_validate(
        {
            "encoder": {"name": "timm:resnet10t", "weights": str(weights), "resolution": 64, "layers": [0, 1, 2, 3, 4]},
            "detector": {"npgmf": {"width": 16, "codes": 32, "memory_patches": 50}},
            "train": {"steps": 2, "batch_size": 4},
        }
    )
    encoder = Encoder(EncoderSpec.from_params(params.encoder), CPU)
    images = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3), np.uint8)
    layers = encoder(list(images))
    assert len(layers) == 5

    class Images(PatternFeatures):
        shapes = tuple(tuple(layer.shape[1:]) for layer in layers)  # type: ignore[assignment]

    features = Images(6, categories=["a"])
    features._layers = layers
    detector = NpgmfDetector.create(features.shapes, params)
    detector.fit(features, device=CPU, checkpoint=tmp_path / "c.safetensors")
    maps = detector.anomaly_maps(features.batch([0, 1]))
    assert maps.shape == (2, 32, 32)
    assert maps.isfinite().all()
