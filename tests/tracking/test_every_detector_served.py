"""Every detector goes through the stages by its name alone, holds no pickle, and is served as it was trained."""

import os
import pickletools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from harmoniad.data.sample import generate
from harmoniad.files import read_json
from harmoniad.inspector import Inspector
from harmoniad.models.designs import DETECTORS
from harmoniad.params import Params, load_params
from harmoniad.stages import encode, evaluate, prepare, register, train
from harmoniad.tracking import store
from tests.features.tiny_clip import encoder_of, save_tiny_clip

NEEDS_TEXT = ("fa_prompt",)
PARAMS = {
    "sample": {"size": 64},
    "encoder": {"resolution": 64},
    "views": {"synthetic": 1},
    "train": {"steps": 3, "batch_size": 4},
    "evaluate": {"heatmaps": 1, "report_images": 2},
    "detector": {"harmoniad": {"memory_patches": 60, "head_steps": 3}},
}
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
    encoder: dict[str, Any] = encoder_of(Path("clip.safetensors")).model_dump() if text else PARAMS["encoder"]
    content = {**PARAMS, "encoder": encoder, "detector": {**PARAMS["detector"], "name": name}}
    Path("params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_params(Path("params.yaml"))


def holds_a_pickle(path: Path) -> bool:
    try:
        return bool(list(pickletools.genops(path.read_bytes())))
    except ValueError:
        return False


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
    wanted = Inspector.load(Path("results/train/model"), "cpu").predict(list(IMAGES))
    np.testing.assert_array_equal(answer["score"], [prediction.score for prediction in wanted])
    np.testing.assert_array_equal(answer["anomaly_map"], [prediction.anomaly_map for prediction in wanted])
