"""`harmoniad.load` from a folder, and what the model says of images of any kind; the registry: see tests/tracking."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import harmoniad
from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json, write_json
from harmoniad.inspector import Inspector

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 40, 56, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(trained: Path) -> Inspector:
    return harmoniad.load(trained, "cpu")


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(trained, tmp_path / "with space ü"))


def test_any_kind_of_image_has_one_score(model: Inspector, tmp_path: Path) -> None:
    path = tmp_path / "part ü.png"
    Image.fromarray(IMAGES[0]).save(path)
    kinds = [IMAGES[0], Image.fromarray(IMAGES[0]), path, str(path), path.read_bytes()]
    scores = {prediction.score for prediction in model.predict(kinds)}
    assert len(scores) == 1
    assert {model.predict(kind)[0].score for kind in kinds} == scores
    first, *_ = model.predict(IMAGES)
    assert first.score in scores
    assert first.anomaly_map.shape == (40, 56)


def test_the_category_chooses_the_threshold(model: Inspector) -> None:
    found = model.predict(list(IMAGES), ["bolt", "nut", None, "never seen"])
    assert [prediction.threshold for prediction in found] == [0, 1000, 500, 500]
    assert [prediction.is_anomalous for prediction in found] == [True, False, False, False]
    assert [bool(prediction.regions) for prediction in found] == [True, False, False, False]
    assert model.predict(IMAGES[0], "bolt")[0].threshold == 0
    with pytest.raises(HarmoniadError, match="4 images, but 2 categories"):
        model.predict(IMAGES, ["bolt", "nut"])


def test_eight_threads_say_the_same_bits_as_one(model: Inspector) -> None:
    wanted = [model.predict(image)[0] for image in IMAGES] * 6
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: model.predict(image)[0], list(IMAGES) * 6))
    for one, other in zip(found, wanted, strict=True):
        assert one.score == other.score
        assert one.anomaly_map.tobytes() == other.anomaly_map.tobytes()
        assert one.regions == other.regions


def test_threads_may_share_an_image_that_pillow_has_not_read_yet(model: Inspector, tmp_path: Path) -> None:
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture, ThreadPoolExecutor(8) as pool:
        scores = {found[0].score for found in pool.map(model.predict, [picture] * 16)}
    assert scores == {model.predict(IMAGES[0])[0].score}


def test_a_model_is_known_by_its_content(model: Inspector, trained: Path, folder: Path) -> None:
    copy = harmoniad.load(str(folder), "cpu").origin
    assert copy is not None and model.origin is not None
    assert copy.digest == model.origin.digest
    assert (copy.name, copy.version) == (str(folder), None)
    threshold = read_json(folder / "threshold.json")
    write_json(folder / "threshold.json", threshold | {"joint": 1.0})
    changed = harmoniad.load(folder, "cpu").origin
    assert changed is not None and changed.digest != copy.digest


def test_a_folder_that_is_no_model_is_told(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"nothing/detector.safetensors: no such file. A model's folder holds"):
        harmoniad.load(tmp_path / "nothing")
    (folder / "threshold.json").write_text('{"joint": 1}')
    with pytest.raises(HarmoniadError, match="with space ü: a model of another version of harmoniad"):
        harmoniad.load(folder, "cpu")
    (folder / "detector.safetensors").write_bytes(b"\x80\x04.")  # a pickle
    with pytest.raises(HarmoniadError, match="changed since it was trained"):
        harmoniad.load(folder, "cpu")


def test_names_of_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("models:/harmoniad", "models:/a'b@champion", "models:/harmoniad/latest"):
        with pytest.raises(HarmoniadError, match="expected models:/NAME@ALIAS or models:/NAME/VERSION"):
            harmoniad.load(name)
    for name in ("models:/harmoniad@champion", "champion", "@champion", "3"):
        with pytest.raises(HarmoniadError, match=r"mlflow.db: no such file. Call it in the project's folder"):
            harmoniad.load(name)
    assert not list(tmp_path.iterdir())  # no store was made


def test_a_device_that_is_not_there_is_told(trained: Path) -> None:
    with pytest.raises(HarmoniadError, match="device: cuda:99 is not there"):
        harmoniad.load(trained, "cuda:99")


def test_the_package_itself_is_light() -> None:
    code = "import harmoniad, sys; print([name for name in ('torch', 'numpy', 'mlflow') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert found.stdout == "[]\n"
