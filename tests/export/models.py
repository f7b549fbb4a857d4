"""Small models to export, and both runtimes of one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs

from harmoniad.export import parity
from harmoniad.export.engines import ENGINES, ExportedInspector
from harmoniad.export.run import _write_core, _write_graph
from harmoniad.features.encoders import Encoder, EncoderSpec
from harmoniad.inspector import Inspector, Origin
from harmoniad.models.detector import detector_class
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
    "mem_aae": {},  # for all the others that are one network
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


def make(
    name: str, tmp_path: Path, *, encoder: dict[str, Any] | None = None, tile: int = 0, **design: Any
) -> Inspector:
    """A detector on the features of six photographs."""
    detector_params = {name: {**DESIGNS.get(name, {}), **design}}
    params = Params.model_validate(
        {
            "encoder": encoder or {"resolution": 64, "layers": [0, 1]},
            "detector": detector_params,
            "train": {"steps": 2, "batch_size": 2},
        }
    )
    network = Encoder(EncoderSpec.from_params(params.encoder), torch.device("cpu"))
    layers = network([network.resize(Image.fromarray(tile)) for tile in tiles(6)])
    detector = detector_class(name).create(tuple(tuple(layer.shape[1:]) for layer in layers), params)  # type: ignore[arg-type]
    detector.fit(Features(layers), device=torch.device("cpu"), checkpoint=tmp_path / "checkpoint")  # type: ignore[arg-type]
    threshold = Threshold(0.05, 0.5, {"brick": 0.4}, {"brick": 1}, 0.1, ImageScore(0.01, 5, 4.0))
    model = TrainedModel(name, detector, network.spec, ["brick", "grass"], "data-1", 0, Tiling(tile))
    return Inspector(model, threshold, network, Origin("small", "0" * 64))


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


def check_answers(reference: Inspector, folder: Path, images: Sequence[np.ndarray]) -> None:
    """Both runtimes say of images what torch says, whatever the order of their sizes."""
    wanted = reference.predict(images, "brick")
    spread = float(max(p.anomaly_map.max() for p in wanted) - min(p.anomaly_map.min() for p in wanted))
    side = reference.model.encoder.resolution
    for exported in write(reference, folder).values():
        found = exported.predict(images, "brick")
        for one, other in zip(wanted, found, strict=True):
            assert other.score == pytest.approx(one.score, abs=parity.SCORE_TOLERANCE * spread)
            assert other.threshold == 0.4
            assert other.anomaly_map.shape == one.anomaly_map.shape
            np.testing.assert_allclose(other.anomaly_map, one.anomaly_map, atol=parity.MAP_TOLERANCE * spread)
        if reference.model.tiling.side:
            continue
        for one, image in zip(wanted, images, strict=True):  # the graph resizes by itself
            score, anomaly_map = exported.engine(image[None])
            assert anomaly_map.shape == (1, side, side)
            assert float(score[0]) == pytest.approx(one.score, abs=10 * parity.SCORE_TOLERANCE * spread)
