"""What an interrupted training may go on with."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harmoniad.features.encoders import EncoderSpec
from harmoniad.params import check_params
from harmoniad.stages import train

PARAMS = check_params({"data": {"sets": ["sample"]}}, "params")
FEATURES: Any = SimpleNamespace(keys=["a", "b"])


def key_of(features: Any = FEATURES) -> str:
    return train._training_key(PARAMS, EncoderSpec.from_params(PARAMS.encoder), features, None, None)


def test_a_checkpoint_of_other_code_or_features_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = key_of()
    assert key_of() == usual
    assert key_of(SimpleNamespace(keys=["a", "c"])) != usual
    monkeypatch.setattr(train, "_CODE", tmp_path)
    (tmp_path / "head.py").write_text("width = 8\n", encoding="utf-8")
    before = key_of()
    (tmp_path / "head.py").write_text("width = 9\n", encoding="utf-8")
    assert usual != before != key_of() != usual


def test_all_parts_of_a_checkpoint_go(tmp_path: Path) -> None:
    for name in ("ab.safetensors", "ab-head.safetensors", "cd.safetensors"):
        (tmp_path / name).touch()
    train.delete_checkpoints(tmp_path / "ab.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["cd.safetensors"]
