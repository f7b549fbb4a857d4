"""The real pipeline on a tiny data set: `dvc repro`, again, with more images, killed, emptied, and as a flow."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY, git

pytestmark = [  # one worker: the tests share a project, in order; whichever is first makes it
    pytest.mark.xdist_group("pipeline"),
    pytest.mark.timeout(600),
]
Command = Callable[..., subprocess.CompletedProcess[str]]


def tiny_params(head_steps: int = 6, **changes: dict[str, object]) -> str:
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    params["sample"] = {"train": 12, "good": 4, "defect": 7, "size": 64}
    params["encoder"]["resolution"] = 64
    params["detector"]["harmoniad"] |= {"width": 16, "heads": 2, "memory_patches": 50, "head_steps": head_steps}
    params["train"] |= {"checkpoint_seconds": 0.000001}
    params["evaluate"]["heatmaps"] = 1
    params["views"]["synthetic"] = 1
    params["device"] = "cpu"
    for section, values in changes.items():
        params[section] |= values
    return yaml.safe_dump(params, sort_keys=False)


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, make_project: Callable[[Path, str], Path], command: Command
) -> Path:
    folder = make_project(tmp_path_factory.mktemp("pipeline") / "with space ü", tiny_params())
    command("dvc", "repro", cwd=folder)
    return folder


def metrics_of(project: Path) -> bytes:
    return (project / "results" / "evaluate" / "metrics.json").read_bytes()


def versions(project: Path, command: Command) -> list[str]:
    lines = command("harmoniad", "models", cwd=project).stdout.splitlines()
    return [line for line in lines if re.match(r"\d+ ", line)]


def test_everything_is_there_after_one_command(project: Path, command: Command) -> None:
    found = json.loads(metrics_of(project))
    assert not list((project / ".harmoniad" / "checkpoints").iterdir())
    assert set(found["categories"]) == {"brick", "grass", "gravel", "label", "machined_part"}
    keys = {"image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "aupro"}
    assert set(found["mean"]) >= keys
    assert all(set(figures) >= keys for figures in found["categories"].values())
    assert found["encoder"] == "timm:tf_efficientnet_lite0"
    assert (found["detector"], found["resolution"], found["seed"]) == ("harmoniad", 64, 0)
    assert (project / "results/validate/data_docs/index.html").is_file()
    assert (project / "results/report/index.html").is_file()
    assert len(list((project / "results/evaluate/heatmaps").rglob("*.png"))) == 5
    assert [line.split()[:3] for line in versions(project, command)] == [["1", "challenger,", "champion"]] or [
        line.split()[:3] for line in versions(project, command)
    ] == [["1", "champion,", "challenger"]]
    summary = command("harmoniad", "summary", cwd=project).stdout
    for word in ("mean", "harmoniad version 1", "@champion", "@challenger", "results/evaluate/heatmaps", "mlflow ui"):
        assert word in summary


def test_a_second_run_runs_nothing(project: Path, command: Command) -> None:
    again = command("dvc", "repro", cwd=project)
    assert "Running stage" not in again.stdout
    assert "up to date" in again.stdout


def test_dvc_shows_metrics_and_plots(project: Path, command: Command) -> None:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "a run")
    shown = json.loads(command("dvc", "metrics", "show", "--json", cwd=project).stdout)
    assert "image_auroc" in json.dumps(shown)
    page = command("dvc", "plots", "show", cwd=project).stdout.strip()
    text = (project / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert page
    for title in ("Training loss", "ROC of the image scores", "Verdicts at the stored threshold"):
        assert title in text


def test_another_clone_gives_the_same_bytes(
    project: Path, tmp_path: Path, make_project: Callable[[Path, str], Path], command: Command
) -> None:
    clone = make_project(tmp_path / "clone", tiny_params())
    command("dvc", "repro", "evaluate", cwd=clone)
    assert metrics_of(clone) == metrics_of(project)
    for name in ("scores.csv", "threshold.json"):
        assert (clone / "results/evaluate" / name).read_bytes() == (project / "results/evaluate" / name).read_bytes()


def test_ten_new_images_cost_a_forward_pass_a_view_and_the_flow_runs_it_all(project: Path, command: Command) -> None:
    source = project / "data" / "sample"
    shutil.copytree(source, project / "data" / "line 2")
    with (project / "params.yaml").open("w", encoding="utf-8") as file:
        file.write(tiny_params(data={"sets": ["sample", "line2"]}, drift={"stops": False}))
    shutil.move(project / "data" / "line 2", project / "incoming")
    shutil.rmtree(project / "incoming" / "brick" / "test")
    shutil.rmtree(project / "incoming" / "brick" / "ground_truth")
    for category in ("grass", "gravel", "label", "machined_part"):
        shutil.rmtree(project / "incoming" / category)
    images = sorted((project / "incoming/brick/train/good").iterdir())
    for image in images[10:]:
        image.unlink()
    _brighten(images[:10])
    command("harmoniad", "data", "add", "incoming", "--layout", "mvtec", "--name", "line2", cwd=project)

    result = command("harmoniad", "retrain", cwd=project)

    with (project / "results/prepare/line2.csv").open(encoding="utf-8") as file:
        trained_on = [row["split"] for row in csv.DictReader(file)].count("train")
    assert 0 < trained_on < 10  # each of these has a copy with a made defect
    assert "drift: " in result.stdout + result.stderr  # for which the champion has encoded the ten
    assert f"encode: {trained_on} views encoded" in result.stdout + result.stderr
    assert len(versions(project, command)) == 2
    assert "line2" in command("harmoniad", "data", "list", cwd=project).stdout


def _brighten(paths: list[Path]) -> None:
    from PIL import Image

    for path in paths:
        Image.open(path).point(lambda value: min(255, value + 3)).save(path)


def test_an_emptied_registry_is_filled_again(project: Path, command: Command) -> None:
    before = len(versions(project, command))
    command("harmoniad", "register", cwd=project)
    command("harmoniad", "register", cwd=project)
    assert len(versions(project, command)) == before  # never a second version of the same
    shutil.rmtree(project / "mlflow" / "store")
    again = command("dvc", "repro", cwd=project)
    assert "Running stage 'register'" in again.stdout
    assert "Running stage 'train'" not in again.stdout
    assert len(versions(project, command)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize(
    ("stage", "sign"),
    [("encode", "*.npy"), ("train", "*.safetensors")],
)
def test_a_killed_stage_goes_on(
    stage: str,
    sign: str,
    project: Path,
    tmp_path: Path,
    make_project: Callable[[Path, str], Path],
    command: Command,
) -> None:
    clone = make_project(tmp_path / "killed ü", tiny_params(head_steps=60))
    command("dvc", "repro", "validate" if stage == "encode" else "start", cwd=clone)
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    running = subprocess.Popen(
        [scripts / "dvc", "repro", "--single-item", stage],
        cwd=clone,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = clone / ".harmoniad" / ("features" if stage == "encode" else "checkpoints")
    deadline = time.monotonic() + 120
    while running.poll() is None and time.monotonic() < deadline and not list(state.rglob(sign)):
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    kept = len([path for path in state.rglob(sign) if not path.match("*.mask.npy")])
    assert kept > 0

    result = command("dvc", "repro", stage, cwd=clone)
    if stage == "encode":
        encoded, cached = map(int, re.findall(r"encode: (\d+) views encoded, (\d+) were", result.stdout)[0])
        assert (cached, encoded + cached) == (
            kept,
            json.loads((clone / "results/encode/features.json").read_text())["views"],
        )
    whole = make_project(tmp_path / "whole", tiny_params(head_steps=60))
    shutil.copytree(project / ".harmoniad" / "features", whole / ".harmoniad" / "features")
    command("dvc", "repro", stage, cwd=whole)
    files = {"encode": "results/encode/features.json", "train": "results/train/model/detector.safetensors"}
    assert (clone / files[stage]).read_bytes() == (whole / files[stage]).read_bytes()
