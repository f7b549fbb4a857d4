"""Every detector as a graph in both runtimes, and what happens when the graph does not answer as torch does."""

import copy
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs
from torch.nn import functional as F

import harmoniad
from harmoniad.errors import HarmoniadError
from harmoniad.export import onnx_file, parity
from harmoniad.export.engines import ENGINES, ExportedInspector, OpenvinoEngine
from harmoniad.export.folder import DESCRIPTION, GRAPH_FILES, Exported
from harmoniad.export.graph import RealSplit, hartley, shrink_bilinear, token_maps_of
from harmoniad.export.run import _write_core, _write_graph, export
from harmoniad.features.encoders import Encoder, EncoderSpec
from harmoniad.files import read_json, write_json
from harmoniad.inspector import Inspector, Origin
from harmoniad.models.detector import detector_class
from harmoniad.models.harmoniad.frequency import FrequencySplit
from harmoniad.models.storage import TrainedModel
from harmoniad.params import Params
from harmoniad.scoring import ImageScore, Threshold
from harmoniad.tiling import Tiling

SMALL = {
    **{"width": 16, "heads": 2, "blocks": 1, "grid": 4, "memory_patches": 60, "head_steps": 2, "memory_channels": 16},
    **{"feature_defects": True, "reconstruction": True, "head_split": True, "gate": "content"},
}
DESIGNS: dict[str, dict[str, Any]] = {
    "harmoniad": SMALL,
    "patchcore": {},
    "padim": {"grid": 3, "channels": 8},  # smaller than the features' grid: antialiased
    "dinomaly": {"width": 16, "heads": 2, "blocks": 1, "grid": 4},
    "inp_former": {"width": 16, "heads": 2, "blocks": 1, "grid": 4},
}


class Features:
    """The features of some images, in memory."""

    def __init__(self, layers: list[torch.Tensor]) -> None:
        self.layers = layers
        self.images = [str(number) for number in range(len(self))]
        self.categories = ["brick", "grass"] * (len(self) // 2)
        self.shapes = tuple(tuple(layer.shape[1:]) for layer in layers)

    def __len__(self) -> int:
        return len(self.layers[0])

    def batch(self, indices: Sequence[int]) -> list[torch.Tensor]:
        return [layer[list(indices)] for layer in self.layers]


def tiles(count: int, height: int = 96, width: int = 80) -> list[np.ndarray]:
    grey = [photographs.brick(), photographs.grass()]
    cut = [grey[n % 2][9 * n : 9 * n + height + n, : width + 3 * n] for n in range(count)]
    return [np.ascontiguousarray(np.repeat(tile[:, :, None], 3, axis=2)) for tile in cut]


def make(name: str, tmp_path: Path, **design: Any) -> Inspector:
    detector_params = {name: {**DESIGNS[name], **design}}
    params = Params.model_validate(
        {
            "encoder": {"resolution": 64, "layers": [0, 1]},
            "detector": detector_params,
            "train": {"steps": 2, "batch_size": 2},
        }
    )
    encoder = Encoder(EncoderSpec.from_params(params.encoder), torch.device("cpu"))
    layers = encoder([encoder.resize(Image.fromarray(tile)) for tile in tiles(6)])
    detector = detector_class(name).create(tuple(tuple(layer.shape[1:]) for layer in layers), params)  # type: ignore[arg-type]
    detector.fit(Features(layers), device=torch.device("cpu"), checkpoint=tmp_path / "checkpoint")  # type: ignore[arg-type]
    threshold = Threshold(0.05, 0.5, {"brick": 0.4}, {"brick": 1}, 0.1, ImageScore(0.01, 5, 4.0))
    model = TrainedModel(name, detector, encoder.spec, ["brick", "grass"], "data-1", seed=0)
    return Inspector(model, threshold, encoder, Origin("small", "0" * 64))


def write(inspector: Inspector, folder: Path) -> dict[str, ExportedInspector]:
    """Both runtimes from one graph."""
    folder.mkdir(parents=True)
    exported = _write_core(inspector, folder / "core.onnx", "onnx")
    found = {}
    for runtime in ENGINES:
        (folder / runtime).mkdir()
        _write_graph(replace(exported, runtime=runtime), folder / "core.onnx", folder / runtime)  # type: ignore[arg-type]
        found[runtime] = ExportedInspector.load(folder / runtime)
    return found


@pytest.mark.parametrize("name", DESIGNS)
def test_each_detector_answers_as_torch_does(name: str, tmp_path: Path) -> None:
    reference = make(name, tmp_path)
    images = [*tiles(5), *tiles(1, 40, 130), *tiles(1, 64, 64)]
    wanted = reference.predict(images, "brick")
    spread = float(max(p.anomaly_map.max() for p in wanted) - min(p.anomaly_map.min() for p in wanted))
    for exported in write(reference, tmp_path / "with space ü").values():
        found = exported.predict(images, "brick")
        for one, other in zip(wanted, found, strict=True):
            assert other.score == pytest.approx(one.score, abs=parity.SCORE_TOLERANCE * spread)
            assert other.threshold == 0.4
            assert other.anomaly_map.shape == one.anomaly_map.shape
            np.testing.assert_allclose(other.anomaly_map, one.anomaly_map, atol=parity.MAP_TOLERANCE * spread)
        for one, image in zip(wanted, images, strict=True):  # the graph resizes by itself, whatever the order of sizes
            score, anomaly_map = exported.engine(image[None])
            assert anomaly_map.shape == (1, 64, 64)
            assert float(score[0]) == pytest.approx(one.score, abs=10 * parity.SCORE_TOLERANCE * spread)


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


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos ü")
    for number, tile in enumerate(tiles(4, 40, 33)):
        Image.fromarray(tile).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def cores() -> list[Any]:
    """What torch made of `trained`; it takes seconds, so once has to do."""
    return []


@pytest.fixture(scope="module")
def exported_folder(trained: Path, photos: Path, cores: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "graph ü"
    make_core = onnx_file.core_of

    def keep(*arguments: Any) -> Any:
        cores.append(make_core(*arguments))
        return cores[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "core_of", keep)
        text = export(trained, "onnx", out, Params(), images=photos)
    assert "4 images" in text
    assert "no verdict differs" in text
    return out


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
