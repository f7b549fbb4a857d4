import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harmoniad.errors import HarmoniadError
from harmoniad.features import weights
from harmoniad.params import Encoder

CLIP = Encoder(name="open_clip:ViT-L-14-336", weights="openai", resolution=336, layers=[5])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_missing_weights_name_the_command_and_the_place() -> None:
    with pytest.raises(HarmoniadError) as told:
        weights.resolve(CLIP)
    assert "harmoniad weights fetch" in str(told.value)
    assert "weights/open_clip-ViT-L-14-336-openai.safetensors" in str(told.value)


def test_a_file_put_there_is_found(folder: Path) -> None:
    path = folder / "weights" / "open_clip-ViT-L-14-336-openai.safetensors"
    path.parent.mkdir()
    save_file({"a": torch.ones(1)}, path)
    found = weights.resolve(CLIP)
    assert found.path.resolve() == path
    assert len(found.sha256) == 64
    assert weights.fetch(CLIP).resolve() == path  # nothing to do


def test_a_missing_file_is_named() -> None:
    with pytest.raises(HarmoniadError, match=r"my weights/ü\.safetensors: no such file"):
        weights.resolve(CLIP.model_copy(update={"weights": "my weights/ü.safetensors"}))


def test_embedded_weights_are_those_of_one_encoder() -> None:
    with pytest.raises(HarmoniadError, match="`embedded` weights exist for timm:tf_efficientnet_lite0 only"):
        weights.resolve(CLIP.model_copy(update={"weights": "embedded"}))


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (CLIP.model_copy(update={"weights": "nonsense"}), "has no weights `nonsense`. Known: openai"),
        (CLIP.model_copy(update={"name": "open_clip:ViT-Z"}), "none: is the model's name right?"),
        (Encoder(name="timm:resnet18", weights="nonsense"), "resnet18 has no weights `nonsense`. Known: "),
        (CLIP.model_copy(update={"weights": "a.safetensors"}), "is a file, not a tag"),
    ],
)
def test_what_cannot_be_fetched_is_told(encoder: Encoder, words: str) -> None:
    with pytest.raises(HarmoniadError) as told:
        weights.fetch(encoder)
    assert words in str(told.value)


def test_a_failed_download_is_one_line_with_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(encoder: Encoder) -> dict[str, torch.Tensor]:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(weights, "_download", refuse)
    with pytest.raises(HarmoniadError) as told:
        weights.fetch(CLIP)
    assert "ConnectionError: no route" in str(told.value)
    assert "weights/open_clip-ViT-L-14-336-openai.safetensors" in str(told.value)
    assert "\n" not in str(told.value)


def test_fetched_weights_are_kept_as_safetensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_download", lambda encoder: {"a": torch.arange(6.0).view(2, 3).T})
    path = weights.fetch(CLIP)
    assert weights.load_state(path)["a"].shape == (3, 2)
    assert weights.resolve(CLIP).path == path


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("trapped"),))


def test_a_pickle_is_not_run(folder: Path) -> None:
    (folder / "evil.pt").write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(HarmoniadError, match=r"evil\.pt: cannot be read as weights"):
        weights.load_state(folder / "evil.pt")
    torch.save({"a": _Trap()}, folder / "evil2.pt")
    with pytest.raises(HarmoniadError, match=r"evil2\.pt: cannot be read as weights"):
        weights.load_state(folder / "evil2.pt")
    assert not (folder / "trapped").exists()


def test_a_torch_file_may_wrap_its_state(folder: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}}, folder / "w.pth")
    assert weights.load_state(folder / "w.pth")["a"].tolist() == [1, 1]
