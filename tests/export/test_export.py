"""Every detector as a graph in both runtimes, and what happens when the graph does not answer as torch does."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import harmoniad
from harmoniad.errors import HarmoniadError
from harmoniad.export import onnx_file, parity
from harmoniad.export.engines import ExportedInspector, OpenvinoEngine
from harmoniad.export.folder import DESCRIPTION, GRAPH_FILES, Exported
from harmoniad.export.graph import RealSplit, hartley, shrink_bilinear, token_maps_of
from harmoniad.export.run import export
from harmoniad.files import read_json, write_json
from harmoniad.models.harmoniad.frequency import FrequencySplit
from harmoniad.models.storage import TrainedModel
from harmoniad.params import Params
from harmoniad.tiling import Tiling
from tests.export.models import DESIGNS, check_answers, make, tiles


@pytest.mark.parametrize("name", DESIGNS)
def test_each_detector_answers_as_torch_does(name: str, tmp_path: Path) -> None:
    check_answers(make(name, tmp_path), tmp_path / "with space ü", [*tiles(5), *tiles(1, 40, 130), *tiles(1, 64, 64)])


@pytest.mark.parametrize(("name", "word"), [("patchcore", "patchcore"), ("padim", "padim")])
def test_a_detector_that_needs_the_category_says_so(name: str, word: str, tmp_path: Path) -> None:
    inspector = make(name, tmp_path, joint=False)
    with pytest.raises(HarmoniadError, match=f"detector.{word}.joint: true"):
        token_maps_of(inspector.model.detector, name)
    with pytest.raises(HarmoniadError, match="the detector other cannot be exported"):
        token_maps_of(object(), "other")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["soft", "hard", "gaussian", "content"])
@pytest.mark.parametrize("size", [(7, 10), (8, 8)])
def test_the_hartley_split_is_the_fourier_split(kind: Any, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    split = FrequencySplit(6, kind=kind)
    if kind == "content":
        torch.nn.init.normal_(split.shift.weight)
    features = torch.randn(3, 6, *size)
    with torch.no_grad():
        for one, other in zip(split(features), RealSplit(split)(features), strict=True):
            torch.testing.assert_close(one, other, atol=2e-6, rtol=0)
    torch.testing.assert_close(hartley(9) @ hartley(9), torch.eye(9), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("old", "new"), [((16, 16), (4, 4)), ((24, 9), (7, 4)), ((5, 5), (3, 5))])
def test_shrinking_is_torchs(old: tuple[int, int], new: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *old, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(images, size=new, mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(shrink_bilinear(images, new, False), wanted, atol=1e-6, rtol=0)


def test_an_exported_folder_is_loaded_like_a_model(trained: Path, photos: Path, exported_folder: Path) -> None:
    paths = sorted(photos.iterdir())
    wanted = harmoniad.load(trained, "cpu").predict(paths, "nut")
    inspector = harmoniad.load(exported_folder)
    for one, other in zip(wanted, inspector.predict(paths, "nut"), strict=True):
        assert other.score == pytest.approx(one.score, rel=1e-3)
        assert other.threshold == 1000
    assert inspector.origin is not None
    assert inspector.origin.digest == harmoniad.load(trained, "cpu").origin.digest  # type: ignore[union-attr]
    with pytest.raises(HarmoniadError, match="was exported for onnx, not for openvino"):
        harmoniad.load(exported_folder, runtime="openvino")
    with pytest.raises(HarmoniadError, match="no runtime `tensorrt`"):
        harmoniad.load(exported_folder, runtime="tensorrt")  # type: ignore[arg-type]


def test_the_graph_tells_what_it_is(exported_folder: Path) -> None:
    import onnx

    graph = onnx.load(exported_folder / "model.onnx")
    told = {entry.key: entry.value for entry in graph.metadata_props}
    assert told["threshold"] == "500.0"
    assert told["thresholds"] == '{"bolt": 0.0, "nut": 1000.0}'
    assert told["data_fingerprint"] == "data-1"
    assert told["resolution"] == "32"
    assert "tf_efficientnet_lite0" in told["encoder"]
    assert len(told["model_digest"]) == 64
    assert [d.dim_param or d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim] == ["N", "H", "W", 3]
    assert str(Path(harmoniad.__file__).parent).encode() not in (exported_folder / "model.onnx").read_bytes()


@pytest.mark.usefixtures("exported_folder")
def test_a_model_that_is_not_exported_is_exported_once(
    trained: Path, photos: Path, cores: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(onnx_file, "core_of", lambda *_: copy.deepcopy(cores[0]))
    with pytest.raises(HarmoniadError, match="Or name a folder of images with --images"):
        harmoniad.load(trained, runtime="onnx")
    assert not list(tmp_path.rglob("*.onnx"))
    samples = [parity.Sample(path, "nut") for path in sorted(photos.iterdir())]
    monkeypatch.setattr(parity, "choose_images", lambda folder, params: samples)
    first = harmoniad.load(trained, runtime="openvino")
    assert isinstance(first, ExportedInspector)
    assert isinstance(first.engine, OpenvinoEngine)
    made = next(tmp_path.rglob("model.xml")).stat()
    assert harmoniad.load(trained, runtime="openvino").threshold == first.threshold
    assert next(tmp_path.rglob("model.xml")).stat().st_mtime_ns == made.st_mtime_ns


@pytest.mark.parametrize(
    ("spoiled", "message"), [("score", "a score differs from torch's by"), ("map", "a pixel differs from torch's by")]
)
@pytest.mark.usefixtures("exported_folder")
def test_a_graph_that_answers_otherwise_is_not_kept(
    spoiled: str,
    message: str,
    trained: Path,
    photos: Path,
    cores: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import onnx

    def wrong(*arguments: Any) -> Any:
        core = copy.deepcopy(cores[0])
        output, name = core.graph.output[1].name, "anomaly_map_right"
        for node in core.graph.node:
            node.output[:] = [name if each == output else each for each in node.output]
            node.input[:] = [name if each == output else each for each in node.input]
        value = np.full((32, 32), 1e6 if spoiled == "score" else 0, np.float32)
        value[-1, -1] = 1e6 if spoiled == "score" else -1e3  # a low pixel does not enter the score
        core.graph.initializer.append(onnx.numpy_helper.from_array(value, "error"))
        core.graph.node.append(onnx.helper.make_node("Add", [name, "error"], [output]))
        return core

    monkeypatch.setattr(onnx_file, "core_of", wrong)
    with pytest.raises(HarmoniadError, match=message):
        export(trained, "onnx", tmp_path / "out", Params(), images=photos)
    assert not list(tmp_path.iterdir())


def test_verdicts_may_differ_at_the_threshold_only(tmp_path: Path) -> None:
    class Scores:
        def __init__(self, score: float, threshold: float) -> None:
            self.score, self.threshold = score, threshold
            self.model = TrainedModel("x", None, None, [], "", 0, Tiling(64))  # type: ignore[arg-type]

        def predict(self, images: Any, categories: Any) -> list[Any]:
            from harmoniad.inspector import Prediction

            anomaly_map = np.linspace(0, 10, 4, dtype=np.float32).reshape(2, 2)
            return [Prediction(self.score, self.threshold, self.score > self.threshold, anomaly_map)]

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    samples = [parity.Sample(tmp_path / "a.png", None)]
    found = parity.compare(Scores(5.0, 5.0), Scores(5.001, 5.0), samples)  # type: ignore[arg-type]
    assert found.at_the_threshold == [str(tmp_path / "a.png")]
    assert found.in_graph_resize_difference is None  # it is cut into tiles
    assert found.score_tolerance == pytest.approx(0.01)
    reference, exported = Scores(5.0, 4.5), Scores(5.0, 4.5)
    reference.model = replace(reference.model, tiling=Tiling())
    exported.engine = lambda images: (np.array([4.0]), None)  # type: ignore[attr-defined]  # the graph's own resize fails
    with pytest.raises(HarmoniadError, match=r"a\.png: the verdict is not torch's"):
        parity.compare(reference, exported, samples)  # type: ignore[arg-type]


def test_a_changed_export_is_refused(exported_folder: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(exported_folder, tmp_path / "changed")
    graph = changed / GRAPH_FILES["onnx"][0]
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.write_bytes(bytes(content))
    with pytest.raises(HarmoniadError, match="missing or changed since it was exported"):
        harmoniad.load(changed)
    write_json(changed / DESCRIPTION, {**read_json(changed / DESCRIPTION), "format": 0})
    with pytest.raises(HarmoniadError, match="an export of another version"):
        harmoniad.load(changed)
    write_json(changed / DESCRIPTION, {"format": 1, "runtime": "onnx"})
    with pytest.raises(HarmoniadError, match="damaged"):
        Exported.read(changed)


def test_nothing_of_the_users_is_overwritten(
    trained: Path, exported_folder: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(HarmoniadError, match="exists and is no export"):
        export(trained, "onnx", tmp_path, Params(), images=photos)
    with pytest.raises(HarmoniadError, match="is an export itself"):
        export(exported_folder, "onnx", tmp_path / "new", Params(), images=photos)
    with pytest.raises(HarmoniadError, match="no images"):
        (tmp_path / "empty").mkdir()
        export(trained, "onnx", tmp_path / "new", Params(), images=tmp_path / "empty")
    assert (tmp_path / "notes.txt").read_text() == "mine"
