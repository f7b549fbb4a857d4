"""ONNX Runtime and OpenVINO at work on an exported graph, and the inspector that asks them instead of torch."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harmoniad.errors import HarmoniadError
from harmoniad.export.folder import GRAPH_FILES, Exported
from harmoniad.export.onnx_file import INPUT
from harmoniad.export.openvino_file import openvino
from harmoniad.features.encoders import EncoderSpec, resize
from harmoniad.inspector import Inspector, Origin, cut
from harmoniad.models.storage import TrainedModel
from harmoniad.scoring import Threshold
from harmoniad.tiling import Box, Tiling


class Engine(Protocol):
    """A runtime that has loaded a graph. Threads may share one."""

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, H, W, 3) of uint8 to scores (N,) and maps (N, R, R)."""


class OnnxEngine:
    """ONNX Runtime on the CPU, with as many threads as torch has."""

    def __init__(self, folder: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise HarmoniadError('the runtime onnx is not installed. Run `pip install -e ".[export]"`.') from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # its warnings are of shapes and of unused weights
        self._session = onnxruntime.InferenceSession(
            str(folder / GRAPH_FILES["onnx"][0]), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine`."""
        score, anomaly_map = self._session.run(None, {INPUT: images})
        return score, anomaly_map


class OpenvinoEngine:
    """OpenVINO on the CPU, with as many threads as torch has."""

    def __init__(self, folder: Path) -> None:
        core = openvino().Core()
        self._model = core.compile_model(
            core.read_model(folder / GRAPH_FILES["openvino"][0]),
            "CPU",
            # Where a CPU has bfloat16, OpenVINO takes it unasked.
            {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()},
        )
        self._of_thread = threading.local()  # a request serves one thread at a time

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine`."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._model.create_infer_request()
        found = self._of_thread.request.infer({INPUT: images})
        return found["score"], found["anomaly_map"]


ENGINES: dict[str, type[OnnxEngine] | type[OpenvinoEngine]] = {"onnx": OnnxEngine, "openvino": OpenvinoEngine}


class ExportedInspector(Inspector):
    """An `Inspector` whose encoder and detector are one graph that another runtime runs.

    Images are cut into tiles and resized by the same code as for torch, and the maps of tiles are joined by it.
    """

    def __init__(self, exported: Exported, engine: Engine, origin: Origin | None = None) -> None:
        self.exported, self.engine = exported, engine
        about = exported.model
        in_graph: Any = None  # encoder and detector are
        model = TrainedModel(
            detector_name=about["detector"],
            detector=in_graph,
            encoder=EncoderSpec.from_dict(about["encoder"]),
            categories=about["categories"],
            data_fingerprint=about["data_fingerprint"],
            seed=about["seed"],
            tiling=Tiling(**about["tiling"]),
        )
        super().__init__(model, Threshold.from_dict(exported.threshold), in_graph, origin)

    @classmethod
    def load(cls, folder: Path, device: str = "auto", precision: str = "float32") -> Self:
        """Load an exported folder; it runs on the CPU.

        Raises:
            HarmoniadError: A file is missing or was changed, or the runtime is not installed.
        """
        exported = Exported.read(folder)
        origin = Origin(str(folder), exported.model["model_digest"])
        try:
            return cls(exported, ENGINES[exported.runtime](folder), origin)
        except (KeyError, TypeError) as error:
            raise HarmoniadError(f"{folder}: an export of another version of harmoniad. Export it again.") from error

    def _maps(
        self, images: Sequence[np.ndarray], names: Sequence[str | None], tiles: Sequence[tuple[int, Box | None]]
    ) -> Tensor:
        size, step = self.exported.input_size, self.exported.images_at_once
        pixels = np.stack([resize(Image.fromarray(cut(images[n], box)), size) for n, box in tiles])
        maps = [self.engine(pixels[start : start + step])[1] for start in range(0, len(pixels), step)]
        return torch.from_numpy(np.concatenate(maps))
