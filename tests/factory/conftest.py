"""A project with real images, a real encoder and a champion in a real MLflow store, made once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

CATEGORIES = ("bolt", "nut ü")
SIZE = 48


def shot(path: Path, seed: int, category: str, *, light: float = 1.0) -> Path:
    """A photograph of a part: the same pattern each time, with noise, under some light."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    pattern = 120 + 50 * np.sin(12 * x if category == "bolt" else 9 * (x + y))
    pixels = pattern[:, :, None] * generator.uniform(0.96, 1.04) + generator.normal(0, 8, (SIZE, SIZE, 3))
    Image.fromarray((pixels * light).clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def take_shot() -> Callable[..., Path]:
    return shot


PARAMS = {
    "data": {"sets": ["plant"]},
    "prepare": {"held_out": 0.4},
    "validate": {"min_train_images": 2},
    "encoder": {"resolution": 32, "layers": [2]},
    "views": {"synthetic": 0},
    "detector": {"name": "patchcore", "harmoniad": {"head": False}},
    "evaluate": {"heatmaps": 0, "report_images": 0},
    "register": {"heatmap_samples": 0},
    "device": "cpu",
    "ingest": {"quiet_seconds": 0},
}


@pytest.fixture(scope="session")
def trained_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages have run, with a champion in its MLflow store."""
    from harmoniad.params import load_params
    from harmoniad.stages import encode, evaluate, prepare, register, train

    root = tmp_path_factory.mktemp("champion")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        (root / "params.yaml").write_text(yaml.safe_dump(PARAMS), encoding="utf-8")
        (root / "dvc.lock").write_text("schema: '2.0'\n")
        for number, category in enumerate(CATEGORIES):
            folder = Path("data/plant") / category
            for seed in range(20):
                shot(folder / f"train/good/{seed}.png", 1000 * number + seed, category)
            for seed in range(20, 36):
                shot(folder / f"test/good/{seed}.png", 1000 * number + seed, category)
            for seed in range(2):
                shot(folder / f"test/bent/{seed}.png", 1000 * number + 50 + seed, category, light=0.5)
        params = load_params()
        prepare.run(params, "plant")
        for stage in (encode, train, evaluate, register):
            stage.run(params)
    return root


@pytest.fixture
def trained(tmp_path: Path, trained_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that project, which is the current folder."""
    root = tmp_path / "with space ü"
    shutil.copytree(trained_template, root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root
