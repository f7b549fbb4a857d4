"""`harmoniad serve-model` follows the champion: a real registry, a real model."""

import logging
import shutil
from pathlib import Path

import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json, write_json
from harmoniad.serving.current_model import CurrentModel
from harmoniad.serving.settings import Settings
from harmoniad.tracking import store
from harmoniad.tracking.registry import register
from harmoniad.tracking.results import MODEL_FILES, THRESHOLD_FILE, read_results


def another_version(project, joint: float) -> None:
    """Register the same detector with another joint threshold."""
    write_json(THRESHOLD_FILE, read_json(THRESHOLD_FILE) | {"joint": joint})
    project.change_params(seed=round(joint))
    register(project.params, read_results())


def make_champion(version: int) -> None:
    with store.connect() as client:
        client.set_registered_model_alias("harmoniad", "champion", str(version))


def test_the_server_follows_the_alias(project, registered: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outcomes: list[str] = []
    model = CurrentModel(Settings(device="cpu"), outcomes.append)
    model.load()
    assert model.label == ("harmoniad version 1", "1")
    another_version(project, 700)
    make_champion(1)
    model.poll()
    assert (model.label[1], outcomes) == ("1", [])
    make_champion(2)
    model.poll()
    assert (model.label[1], outcomes) == ("2", ["loaded"])
    assert model.inspector().threshold.joint == 700
    assert "now serving harmoniad version 2" in caplog.text


def test_a_broken_version_is_told_once_and_the_old_one_stays(
    project, registered: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[str] = []
    model = CurrentModel(Settings(device="cpu"), outcomes.append)
    model.load()
    another_version(project, 700)
    make_champion(2)
    with store.connect() as client:
        source = client.get_model_version("harmoniad", "2").source
    import mlflow

    with store.connect():
        folder = Path(mlflow.artifacts.download_artifacts(source))
    detector = next(folder.rglob("detector.safetensors"))
    content = detector.read_bytes()
    detector.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for _ in range(3):
        model.poll()
        model._failed = (None, 0.0)  # as if a minute had passed
    assert (model.label[1], outcomes) == ("1", ["failed"])
    (line,) = [record.getMessage() for record in caplog.records if record.name == "harmoniad.serving"]
    assert (
        "version 2 cannot be loaded, harmoniad version 1 goes on" in line and "changed since it was registered" in line
    )
    detector.write_bytes(content)
    model.poll()
    assert (model.label[1], outcomes) == ("2", ["failed", "loaded"])


def test_a_registry_that_is_gone_stops_nothing(project, registered: Path) -> None:
    model = CurrentModel(Settings(device="cpu"))
    model.load()
    shutil.move(store.DATABASE, store.DATABASE.with_suffix(".away"))
    model.poll()
    assert model.is_ready
    with pytest.raises(HarmoniadError):
        CurrentModel(Settings(device="cpu")).load()
    assert all(path.is_file() for path in MODEL_FILES)
