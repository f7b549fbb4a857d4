from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.errors import HarmoniadError
from harmoniad.features.text import TextTower
from harmoniad.models.fa_prompt.design import FaPrompt
from harmoniad.models.fa_prompt.detector import FaPromptDetector
from harmoniad.models.fa_prompt.network import FaPromptNetwork
from harmoniad.models.labelled import Labelled
from harmoniad.models.prompts import SharedSpace, mean_cosine
from harmoniad.params import Encoder, Params
from tests.features.tiny_clip import encoder_of, save_tiny_clip
from tests.models.features import PatternFeatures, SyntheticFeatures

CPU = torch.device("cpu")
SHAPES = PatternFeatures.shapes


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Encoder]:
    return save_tiny_clip(tmp_path / "clip.safetensors", monkeypatch), encoder_of(tmp_path / "clip.safetensors")


def params(encoder: Encoder, **design: object) -> Params:
    sections = {"encoder": encoder.model_dump(), "train": {"steps": 3, "batch_size": 4}}
    return Params.model_validate({**sections, "detector": {"fa_prompt": design}})


def network(encoder: Encoder, **design: object) -> FaPromptNetwork:
    torch.manual_seed(0)
    return FaPromptNetwork(SHAPES, FaPrompt.model_validate(design), TextTower.load(encoder))


def batch() -> list[Tensor]:
    return Labelled(PatternFeatures(2), SyntheticFeatures(2)).batch([0, 1, 2, 3])


def test_without_a_text_tower_one_line_tells_what_to_set() -> None:
    with pytest.raises(
        HarmoniadError, match=r"^detector\.name: fa_prompt needs a text tower, which timm:\S+ has not\."
    ):
        FaPromptDetector.create(SHAPES, Params())


def test_without_made_defects_one_line_tells_what_to_set(clip: tuple[Any, Encoder], tmp_path: Path) -> None:
    detector = FaPromptDetector.create(SHAPES, params(clip[1]))
    with pytest.raises(HarmoniadError, match=r"made defects\. Set views\.synthetic to 1 or more\.$"):
        detector.fit(PatternFeatures(2), device=CPU, checkpoint=tmp_path / "c")


def test_good_images_and_copies_are_one_labelled_set() -> None:
    good, made = PatternFeatures(3), SyntheticFeatures(4)
    both = Labelled(good, made)
    assert len(both) == 7
    assert both.images == [*good.images, *made.images]
    *layers, masks = both.batch([5, 1])
    assert torch.equal(layers[0][0], good.batch([1])[0][0])
    assert torch.equal(layers[0][1], made.batch([2])[0][0])
    assert masks.amax((1, 2)).tolist() == [0, 1]
    assert both.batch([0])[-1].shape == (1, 16, 16)
    assert both.batch([3])[-1].shape == (1, 16, 16)


def test_tokens_as_wide_as_the_tower_go_its_own_way_to_the_shared_space(clip: tuple[Any, Encoder]) -> None:
    model, encoder = clip
    space, tokens = SharedSpace(32, TextTower.load(encoder)), torch.randn(2, 32, 3, 3)
    visual = model.visual
    wanted = F.normalize(visual.ln_post(tokens.flatten(2).transpose(1, 2)) @ visual.proj, dim=-1)
    torch.testing.assert_close(space(tokens), wanted)
    assert not any(parameter.requires_grad for parameter in space.parameters())
    assert all(parameter.requires_grad for parameter in SharedSpace(20, TextTower.load(encoder)).parameters())


def test_abnormal_prompts_begin_with_the_words_of_the_normal_one(clip: tuple[Any, Encoder]) -> None:
    net, tower = network(clip[1], normal_words=2, abnormal_words=1, abnormal_prompts=3).train(), TextTower.load(clip[1])
    words = torch.cat([net.normal.words.expand(3, -1, -1), net.abnormal.words], dim=1)
    wanted = tower.encode(tower.tokens(["x x x damaged object"] * 3), words)
    torch.testing.assert_close(net.abnormal(net.normal.words), wanted)
    net.abnormal(net.normal.words).sum().backward()
    assert net.normal.words.grad is not None
    assert net.abnormal.words.grad is not None


def test_a_token_is_scored_by_how_much_nearer_the_abnormal_prompts_are(clip: tuple[Any, Encoder]) -> None:
    net, layers = network(clip[1], prior=False).train(), batch()[:-1]
    normal, abnormal = net.normal()[0], net.abnormal(net.normal.words)
    prototype = abnormal.mean(0) / abnormal.mean(0).norm()
    scores = []
    for space, layer in zip(net.spaces, layers, strict=True):
        tokens = space(F.interpolate(layer, size=(8, 8), mode="bilinear", align_corners=False))
        scores.append(tokens @ prototype - tokens @ normal)
    wanted = (scores[0] + scores[1]) / 2 / 0.07
    torch.testing.assert_close(net(layers)[0], wanted.view(4, 8, 8), rtol=1e-4, atol=1e-4)


def test_the_prior_comes_from_the_image_s_own_strangest_tokens(clip: tuple[Any, Encoder]) -> None:
    net, layers = network(clip[1], prior_share=0.05).train(), batch()[:-1]
    without, prior, _ = net(layers)
    assert prior.abs().max() == 0  # nothing has been learned
    assert net.prior is not None
    torch.nn.init.normal_(net.prior.outer.weight)
    logits, prior, _ = net(layers)
    assert prior.std(0).max() > 0  # each image has its own
    assert (logits - without).abs().max() > 0.1
    alone, *_ = net([layer[:1] for layer in layers])
    torch.testing.assert_close(alone, logits[:1], rtol=1e-4, atol=1e-4)


def test_likeness_of_hand_made_prompts() -> None:
    assert mean_cosine(torch.eye(3)).item() == 0
    assert mean_cosine(torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])).item() == pytest.approx(2 / 6)
    assert mean_cosine(torch.tensor([[1.0, 0]])).item() == 0


@pytest.mark.parametrize("design", [{}, {"prior": False}, {"abnormal_prompts": 1}])
def test_all_that_can_be_learned_learns(clip: tuple[Any, Encoder], design: dict[str, object]) -> None:
    net = network(clip[1], **design).train()
    net.loss(batch(), 0.0)[0].backward()
    learned = {name: parameter.grad for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert [name for name, gradient in learned.items() if gradient is None] == []
    assert not any("tower" in name for name in net.state_dict())


def test_a_trained_model_needs_no_tower(clip: tuple[Any, Encoder], tmp_path: Path) -> None:
    detector = FaPromptDetector.create(SHAPES, params(clip[1]))
    log = detector.fit(
        PatternFeatures(4), synthetic=SyntheticFeatures(4), device=CPU, checkpoint=tmp_path / "checkpoint"
    )
    assert set(log[0]) == {"step", "loss", "learning_rate", "likeness", "prior"}
    (tmp_path / "clip.safetensors").unlink()
    again = FaPromptDetector.restore(detector.config(), detector.tensors())
    layers = PatternFeatures(2, seed=3).batch([0, 1])
    assert torch.equal(again.anomaly_maps(layers), detector.anomaly_maps(layers))
    with pytest.raises(ValueError, match="no text tower"):
        again.fit(PatternFeatures(4), synthetic=SyntheticFeatures(4), device=CPU, checkpoint=tmp_path / "other")
