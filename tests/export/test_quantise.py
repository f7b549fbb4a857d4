"""int8 and `harmoniad score --runtime`, by the command, in a project with a few images."""

import copy
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import harmoniad
from harmoniad.cli import cli
from harmoniad.data.sets import DATA_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.export import onnx_file, quantise
from harmoniad.export.engines import ExportedInspector
from harmoniad.files import read_json, write_json
from harmoniad.params import Params
from harmoniad.stages import prepare


@pytest.fixture
def plant(exported_folder: Path, cores: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared project, the current folder; torch's part of an export is taken from `exported_folder`'s."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(onnx_file, "core_of", lambda *_: copy.deepcopy(cores[0]))
    rng = np.random.default_rng(0)
    for folder, count in (("train/good", 8), ("test/good", 3), ("test/scratch", 3)):
        for number in range(count):
            path = DATA_DIR / "lineü" / "bolt" / folder / f"{number}.png"
            pixels = rng.integers(90, 160, (40, 48, 3), dtype=np.uint8)
            if "scratch" in folder:
                pixels[10:20, 10:30] = 255
                mask = np.zeros((40, 48), np.uint8)
                mask[10:20, 10:30] = 255
                save(DATA_DIR / "lineü" / "bolt" / "ground_truth" / "scratch" / f"{number}_mask.png", mask)
            save(path, pixels)
    params = Params.model_validate({"data": {"sets": ["lineü"]}, "prepare": {"held_out": 0.4}})
    write_json(Path("params.yaml"), {"data": {"sets": ["lineü"]}})  # JSON is YAML
    prepare.run(params, "lineü")
    return tmp_path


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_int8_says_what_it_costs(runtime: str, trained: Path, plant: Path) -> None:
    done = CliRunner().invoke(cli, ["export", str(trained), "--format", runtime, "--int8", "--out", "int8 ü"])
    assert done.exit_code == 0, done.output
    for told in ("| image AUROC | ", "| pixel AP | ", "| AUPRO | ", "int8 loses", "thresholds were set anew"):
        assert told in done.output
    about = read_json(Path("int8 ü/export.json"))
    assert about["precision"] == "int8"
    assert about["accuracy"]["test_images"] == 6
    assert about["accuracy"]["float32"].keys() == about["accuracy"]["int8"].keys() >= quantise.METRICS.keys()
    assert about["threshold"]["joint"] != 500  # that of the model in float32
    image = DATA_DIR / "lineü/bolt/test/scratch/0.png"
    exact, small = harmoniad.load(trained, "cpu").predict(image)[0], harmoniad.load("int8 ü").predict(image)[0]
    assert 0 < abs(small.score - exact.score) < 0.05 * exact.score


def test_only_what_goes_into_the_encoders_later_products_is_rounded(
    trained: Path, plant: Path, cores: list[Any]
) -> None:
    import onnx

    assert CliRunner().invoke(cli, ["export", str(trained), "--format", "onnx", "--int8", "--out", "x"]).exit_code == 0
    graph = onnx.load("x/model.onnx").graph
    makers = {output: node for node in graph.node for output in node.output}
    products = [node for node in graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    rounded = [makers.get(node.input[0], node).op_type == "DequantizeLinear" for node in products]
    of_encoder = len(quantise.encoder_nodes(cores[0]))
    assert rounded[:of_encoder] == [False] * quantise.FLOAT_AT_FIRST + [True] * (of_encoder - quantise.FLOAT_AT_FIRST)
    assert not any(rounded[of_encoder:])
    taken = {name for node in graph.node if node.op_type == "QuantizeLinear" for name in node.input[:1]}
    assert not any(makers[name].op_type == "Cast" for name in taken if name in makers)


def test_without_test_images_int8_is_refused(trained: Path, plant: Path) -> None:
    table = Path("results/prepare/lineü.csv")
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(line for line in lines if ",test," not in line), encoding="utf-8")
    done = CliRunner().invoke(cli, ["export", str(trained), "--format", "onnx", "--int8", "--out", "x"])
    assert isinstance(done.exception, HarmoniadError)
    assert "no test images, so the accuracy of int8 cannot be told" in str(done.exception)
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (
            {"image_auroc": 0.9, "pixel_ap": 0.49, "aupro": None},
            "loses 0.0500 of image AUROC, and of the others less: ",
        ),
        ({"image_auroc": 0.95, "pixel_ap": 0.495, "aupro": None}, "loses 0.0050 of pixel AP, and of the others less."),
        ({"image_auroc": 0.96, "pixel_ap": 0.5, "aupro": None}, "loses nothing"),
        ({"image_auroc": None, "pixel_ap": None, "aupro": None}, "do not tell what int8 costs"),
    ],
)
def test_the_loss_in_words(after: dict[str, Any], told: str) -> None:
    before = {"image_auroc": 0.95, "pixel_ap": 0.5, "aupro": 0.7}
    assert told in quantise.loss({"float32": before, "int8": after})


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_score_by_another_runtime(runtime: str, trained: Path, plant: Path) -> None:
    images = str(DATA_DIR / "lineü/bolt/test")
    arguments = ["score", images, "--model", str(trained), "--no-heatmaps", "--device", "cpu", "--category", "nut"]
    found = {}
    for name in ("torch", runtime):
        done = CliRunner().invoke(cli, [*arguments, "--runtime", name, "--out", name])
        assert done.exit_code == 0, done.output
        with Path(name, "scores.csv").open(encoding="utf-8", newline="") as file:
            found[name] = {row["image"]: float(row["score"]) for row in csv.DictReader(file)}
    assert len(found["torch"]) == 6
    assert found[runtime] == pytest.approx(found["torch"], rel=1e-3)
    (kept,) = Path(".harmoniad/exports").iterdir()
    assert kept.name.endswith(f"-{runtime}")
    assert isinstance(harmoniad.load(kept), ExportedInspector)
