"""The text tower of a small CLIP with random weights, from a file."""

import copy
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch.nn import functional as F

from harmoniad.errors import HarmoniadError
from harmoniad.features.text import TextTower, has_text_tower, text_embeddings
from harmoniad.params import Encoder
from tests.features.tiny_clip import NAME, encoder_of, save_tiny_clip

PROMPTS = ["a photo of a metal nut", "a photo of a cable", "übel zugerichtet"]


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Encoder]:
    path = tmp_path / "with space ü.safetensors"
    return save_tiny_clip(path, monkeypatch), encoder_of(path)


@pytest.mark.parametrize("custom", [False, True])
def test_embeddings_are_open_clips_of_unit_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, custom: bool
) -> None:
    path = tmp_path / "with space ü.safetensors"
    model = save_tiny_clip(path, monkeypatch, custom_text=custom)
    found = text_embeddings(encoder_of(path), PROMPTS)
    with torch.inference_mode():
        wanted = model.encode_text(open_clip.get_tokenizer(NAME)(PROMPTS))
    torch.testing.assert_close(found, wanted / wanted.norm(dim=1, keepdim=True))
    assert found.shape == (3, 16)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    assert torch.equal(found, text_embeddings(encoder_of(path), PROMPTS))


def test_learned_tokens_take_the_place_of_words(clip: tuple[Any, Encoder]) -> None:
    model, encoder = clip
    tower = TextTower.load(encoder)
    words, others = tower.tokens(["red big nut", "red big nut"]), tower.tokens(["x x nut", "x x nut"])
    assert tower.dimensions == 16
    with torch.no_grad():
        vectors = copy.deepcopy(model.token_embedding(words)[:, 1:3])
    torch.testing.assert_close(tower.encode(others, vectors), tower.encode(words))
    torch.testing.assert_close(tower.encode(others), tower.encode(tower.tokens(["x x nut"])).expand(2, -1))
    learned = torch.zeros(2, 2, tower.width, requires_grad=True)
    (1 - F.cosine_similarity(tower.encode(others, learned), torch.ones(2, 16))).sum().backward()
    assert learned.grad is not None
    assert learned.grad.abs().amax((1, 2)).min() > 0


def test_an_encoder_without_a_text_tower_is_told_what_to_set() -> None:
    assert has_text_tower(Encoder(name="open_clip:ViT-B-16", weights="openai"))
    assert not has_text_tower(Encoder())
    with pytest.raises(HarmoniadError, match=r"^encoder\.name: timm:\S+ has no text tower\. Set it .*open_clip:ViT"):
        text_embeddings(Encoder(), ["a nut"])


def test_missing_weights_and_an_unknown_model_are_named(clip: tuple[Any, Encoder]) -> None:
    _, encoder = clip
    with pytest.raises(HarmoniadError, match=r"gone\.safetensors: no such file"):
        text_embeddings(encoder.model_copy(update={"weights": "gone.safetensors"}), ["a nut"])
    with pytest.raises(HarmoniadError, match="open_clip has no model `ViT-Z`"):
        text_embeddings(encoder.model_copy(update={"name": "open_clip:ViT-Z"}), ["a nut"])


def test_a_tokenizer_that_is_elsewhere_is_named(clip: tuple[Any, Encoder], monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> None:
        raise OSError("not in the cache, and offline")

    monkeypatch.setattr(open_clip, "get_tokenizer", offline)
    with pytest.raises(HarmoniadError, match=r"tokenizer of open_clip:tiny-clip is not on this machine \(not in the"):
        text_embeddings(clip[1], ["a nut"])
