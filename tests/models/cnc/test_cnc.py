from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from harmoniad.errors import HarmoniadError
from harmoniad.features.text import TextTower
from harmoniad.models.cnc.design import Cnc
from harmoniad.models.cnc.detector import CncDetector
from harmoniad.models.cnc.experts import GatedExperts
from harmoniad.models.cnc.network import CncNetwork, Normality
from harmoniad.models.prompts import TextSize
from harmoniad.params import Params
from tests.features.tiny_clip import encoder_of, save_tiny_clip
from tests.models.features import PatternFeatures

SHAPES = PatternFeatures.shapes
SMALL = {"width": 16, "heads": 2, "blocks": 2}


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_each_token_goes_to_the_experts_that_its_gate_favours() -> None:
    torch.manual_seed(0)
    experts, tokens = GatedExperts(8, 5, 2), random(2, 6, 8)
    mixed, _ = experts(tokens)
    for image in range(2):
        for place in range(6):
            token = tokens[image, place]
            scores = experts.gate(token)
            first, second = scores.argsort(descending=True)[:2].tolist()
            share = 1 / (1 + (scores[second] - scores[first]).exp())
            wanted = share * experts.experts[first](token) + (1 - share) * experts.experts[second](token)
            torch.testing.assert_close(mixed[image, place], wanted)


def test_unevenness_is_nothing_where_all_are_used_alike() -> None:
    torch.manual_seed(0)
    experts = GatedExperts(8, 4, 1)
    with torch.no_grad():
        experts.gate.weight.zero_()
        experts.gate.weight[:, :4] = torch.eye(4)
        experts.gate.bias.zero_()
    tokens = torch.zeros(1, 4, 8)
    tokens[0, :, :4] = torch.eye(4)
    assert experts(tokens)[1].item() == pytest.approx(0, abs=1e-6)
    assert experts(tokens[:, :1].expand(1, 4, 8))[1].item() == pytest.approx(3)  # (4 - 1)^2 + 3 over 4


def test_vectors_learn_from_the_encoded_and_the_decoder_from_the_vectors() -> None:
    torch.manual_seed(0)
    normality = Normality([12], TextSize(16, 16), Cnc(**SMALL, prompts=3), learned=True)
    encoded, decoded = random(2, 12, 4, 4), torch.randn(2, 12, 4, 4, requires_grad=True)
    described, pulled = normality([encoded], [decoded])
    pulled.backward(retain_graph=True)
    assert normality.vectors is not None
    assert normality.vectors.grad is None
    assert decoded.grad is not None
    decoded.grad = None
    described.backward()
    assert normality.vectors.grad is not None
    assert decoded.grad is None
    assert all(not parameter.requires_grad for parameter in normality.spaces.parameters())

    vectors = torch.nn.functional.normalize(normality.vectors, dim=-1)
    cosines = normality.spaces[0](encoded) @ vectors.T
    assert described.item() == pytest.approx(1 - cosines.amax(-1).mean().item(), abs=1e-6)
    same, _ = normality([encoded], [encoded])
    assert normality([encoded], [encoded])[1].item() == pytest.approx(same.item(), abs=1e-6)


@pytest.mark.parametrize(
    "design", [{}, {"experts": 0}, {"normality_weight": 0}, {"experts": 3, "chosen": 1, "prompts": 1, "groups": 1}]
)
def test_each_part_can_be_left_out_and_all_that_is_left_learns(design: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = CncNetwork(SHAPES, Cnc.model_validate({**SMALL, **design}), None)
    loss, values = network.loss(PatternFeatures(4).batch([0, 1, 2, 3]), 0.5)
    loss.backward()
    learned = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert [name for name, gradient in learned.items() if gradient is None and "experts.experts" not in name] == []
    assert ("pulled" in values) == (network.normality is not None)
    assert any("gate" in name for name in learned) == (design.get("experts", 5) != 0)


def test_no_token_goes_to_more_experts_than_there_are() -> None:
    with pytest.raises(ValidationError, match="chosen must not be more than experts"):
        Cnc(experts=2, chosen=3)


def test_the_prompts_go_through_the_text_tower_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.safetensors"
    save_tiny_clip(path, monkeypatch)
    sections = {"encoder": encoder_of(path).model_dump(), "train": {"steps": 2, "batch_size": 2}}

    def fitted(text: str) -> CncDetector:
        params = Params.model_validate({**sections, "detector": {"cnc": {**SMALL, "text": text}}})
        detector = CncDetector.create(SHAPES, params)
        detector.fit(PatternFeatures(4), device=torch.device("cpu"), checkpoint=tmp_path / text)
        return detector

    detector = fitted("auto")
    tensors = detector.tensors()
    words = tensors["network.normality.prompts.words"]
    tower = TextTower.load(encoder_of(path))
    tokens = tower.tokens(["x x x x x normal object without defects"] * 4)
    torch.testing.assert_close(tensors["network.normality.prompts.embeddings"], tower.encode(tokens, words))

    off = fitted("off")
    assert off.config()["text"] is None
    assert "network.normality.vectors" in off.tensors()
    assert "network.normality.prompts.words" not in off.tensors()

    path.unlink()  # a trained model needs no tower
    again = CncDetector.restore(detector.config(), tensors)
    layers = PatternFeatures(2, seed=3).batch([0, 1])
    assert torch.equal(again.anomaly_maps(layers), detector.anomaly_maps(layers))
    with pytest.raises(HarmoniadError, match=r"clip\.safetensors: no such file"):
        fitted("auto")
