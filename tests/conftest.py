import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from harmoniad.environment import keep_quiet
from tests.browser import chromium, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

keep_quiet()
# Tests run side by side: processes that each want all cores slow one another down tenfold.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples each time, however busy the machine is: a test that fails has a reason in the code.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("steady")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def the_same_numbers() -> None:
    """Random numbers that no test asked a seed for do not depend on the tests before it."""
    random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


def run_command(*arguments: str, cwd: Path, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment's, as a user with the environment activated would."""
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **variables}
    environment.pop("PREFECT_HOME", None)  # each project has its own
    result = subprocess.run(
        [str(scripts / arguments[0]), *arguments[1:]],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if check:
        assert result.returncode == 0, f"{arguments}\n{result.stdout}\n{result.stderr}"
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest file first, so that the other worker takes the rest meanwhile."""
    items.sort(key=lambda item: "test_pipeline" not in item.nodeid)


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run_command


@pytest.fixture(scope="session")
def make_project() -> Callable[[Path, str], Path]:
    """Make a project as a clone would be: its own git and DVC repository, with other params."""

    def make(folder: Path, params: str) -> Path:
        folder.mkdir(parents=True)
        for name in ("harmoniad", "flows"):
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
            shutil.copy(REPOSITORY / name, folder / name)
        shutil.copytree(REPOSITORY / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "*.local"))
        (folder / "params.yaml").write_text(params, encoding="utf-8")
        git(folder, "init", "--quiet")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "start")
        return folder

    return make


def git(folder: Path, *arguments: str) -> None:
    identity: Sequence[str] = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model at work: PatchCore on 32 px, with the thresholds 0 (bolt), 1000 (nut) and 500 (any other)."""
    import numpy as np
    import torch

    from harmoniad.features.encoders import Encoder, EncoderSpec
    from harmoniad.files import write_json
    from harmoniad.models.patchcore.detector import PatchcoreDetector
    from harmoniad.models.storage import TrainedModel, save_model
    from harmoniad.params import Encoder as EncoderParams
    from harmoniad.params import Params
    from harmoniad.scoring import ImageScore, Threshold

    class Features:
        """The features of some images, in memory."""

        def __init__(self, layers: list[torch.Tensor]) -> None:
            self.layers = layers
            self.categories = ["bolt", "nut"] * (len(self) // 2)
            self.shapes = tuple(tuple(layer.shape[1:]) for layer in layers)

        def __len__(self) -> int:
            return len(self.layers[0])

        def batch(self, indices: Sequence[int]) -> list[torch.Tensor]:
            return [layer[list(indices)] for layer in self.layers]

    root, device = tmp_path_factory.mktemp("trained"), torch.device("cpu")
    spec = EncoderSpec.from_params(EncoderParams(resolution=32, layers=[2]))
    normal = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    features = Features(Encoder(spec, device)(list(normal)))
    detector = PatchcoreDetector.create(features.shapes, Params())  # type: ignore[arg-type]
    detector.fit(features, device=device, checkpoint=root / "checkpoint")  # type: ignore[arg-type]
    save_model(root / "model", TrainedModel("patchcore", detector, spec, ["bolt", "nut"], "data-1", seed=0))
    thresholds = {"bolt": 0.0, "nut": 1000.0}
    threshold = Threshold(0.05, 500.0, thresholds, {"bolt": 1, "nut": 1}, 0.1, ImageScore(0.01, 1, 1.0))
    write_json(root / "model" / "threshold.json", threshold.to_dict())
    return root / "model"


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """A page that must not give the browser a reason to complain."""
    with opened(browser) as (page, complaints):
        yield page
        assert complaints == []
