"""Every detector goes through the stages by its name alone, holds no pickle, and is served as it was trained."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from harmoniad.data.manifest import read_manifest, usable
from harmoniad.data.sample import generate
from harmoniad.files import read_json
from harmoniad.inspector import Inspector
from harmoniad.leaderboard.measure import measure
from harmoniad.models import training
from harmoniad.models.designs import DETECTORS
from harmoniad.params import Params, load_params
from harmoniad.stages import encode, evaluate, prepare, register, train
from harmoniad.tracking import store
from tests.features.tiny_clip import encoder_of, save_tiny_clip

NEEDS_TEXT = ("fa_prompt",)
PARAMS: dict[str, Any] = {
    "sample": {"size": 64},
    "encoder": {"resolution": 64},
    "views": {"synthetic": 1},
    "train": {"steps": 3, "batch_size": 4},
    "evaluate": {"heatmaps": 1, "report_images": 2},
    "detector": {"harmoniad": {"memory_patches": 60, "head_steps": 3}},
}
MEASURED = "dasvdd"  # quick to train
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Path]:
    """A project with images and features, and an encoder with a text tower; it is the current folder."""
    root = tmp_path_factory.mktemp("served") / "with space ü"
    (root / store.STORE_DIR).mkdir(parents=True)
    shutil.copyfile(migrated_database, root / store.DATABASE)
    (root / "dvc.lock").write_text("schema: '2.0'\n", encoding="utf-8")
    generate(root / "data/sample", size=64, train=12, good=4, defect=4, categories=["brick", "gravel"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        save_tiny_clip(Path("clip.safetensors"), patch)
        for text in (False, True):
            params = params_of("patchcore", text=text)
            prepare.run(params, "sample")
            encode.run(params)
        yield root


def params_of(name: str, *, text: bool = False) -> Params:
    """What params.yaml, which is written, says."""
    encoder = encoder_of(Path("clip.safetensors")).model_dump() if text else PARAMS["encoder"]
    content = {**PARAMS, "encoder": encoder, "detector": {**PARAMS["detector"], "name": name}}
    Path("params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_params(Path("params.yaml"))


def holds_a_pickle(path: Path) -> bool:
    """Whether a file begins as pickle does, or as the archives in which torch keeps pickles."""
    start = path.read_bytes()[:4]
    return path.suffix != ".safetensors" and (start[:1] == b"\x80" or start == b"PK\x03\x04")


@pytest.mark.parametrize("name", DETECTORS)
def test_by_its_name_alone(name: str, plant: Path) -> None:
    import mlflow

    params = params_of(name, text=name in NEEDS_TEXT)
    for stage in (train, evaluate, register):
        assert stage.run(params)
    with store.connect():
        folder = Path(mlflow.artifacts.download_artifacts("models:/harmoniad@challenger", dst_path="downloaded"))
        served = mlflow.pyfunc.load_model(str(folder))
    files = [Path(where, file) for where, _, names in os.walk(folder) for file in names]
    (model_file,) = (file for file in files if file.name == "model.json")
    assert read_json(model_file)["detector"]["name"] == name
    assert model_file.with_name("detector.safetensors").is_file()
    assert not [file for file in files if holds_a_pickle(file)]

    answer = served.predict(IMAGES)
    trained = shutil.copytree("results/train/model", f"trained {name}")
    shutil.copy("results/evaluate/threshold.json", trained)
    wanted = Inspector.load(Path(trained), "cpu").predict(list(IMAGES))
    np.testing.assert_array_equal(answer["score"], [prediction.score for prediction in wanted])
    np.testing.assert_array_equal(answer["anomaly_map"], [prediction.anomaly_map for prediction in wanted])


def test_the_leaderboard_leaves_no_checkpoint(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = params_of(MEASURED)
    often = params.model_copy(update={"train": params.train.model_copy(update={"checkpoint_seconds": 1e-9})})
    saved: list[Path] = []
    save = training._save

    def save_and_note(path: Path, *rest: Any) -> None:
        save(path, *rest)
        saved.append(path)

    monkeypatch.setattr(training, "_save", save_and_note)
    Path("checkpoints").mkdir()
    measured = measure(usable(read_manifest(["sample"])), often, Path("checkpoints"))
    assert measured["mean"]["image_auroc"] is not None
    assert len(saved) == params.train.steps and not list(Path("checkpoints").iterdir())
