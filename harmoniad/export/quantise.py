"""int8: the encoder of an exported graph quantised, and what that costs in accuracy.

Only what goes into the encoder's products is rounded. What comes out of them stays in float32, and so do the first of
them, whose error would go through all others, and what the detector does with the features (the search of the memory,
the heads, the fusion). With EfficientNet-lite0 the features are then off by 6 % on held-out images, against 45 % where
all is rounded, in the same time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from harmoniad.data.images import load_rgb
from harmoniad.errors import HarmoniadError
from harmoniad.evaluation import CategoryMetrics
from harmoniad.export.onnx_file import RESIZED, silence
from harmoniad.features.encoders import resize
from harmoniad.params import Params
from harmoniad.progress import Progress
from harmoniad.scoring import Threshold, calibrate

if TYPE_CHECKING:
    import pandas as pd
    from onnx import ModelProto

    from harmoniad.inspector import Inspector, Prediction

CALIBRATION_IMAGES = 64
BATCH_SIZE = 16
MUCH = 0.01  # loss of a metric that is worth a warning
METRICS = {"image_auroc": "image AUROC", "pixel_ap": "pixel AP", "aupro": "AUPRO"}
FLOAT_AT_FIRST = 3  # products: the stem and the first block of a convolutional network
_QUANTISED = ["Conv", "MatMul", "Gemm"]


def quantise(core: Path, out: Path, images: Sequence[Path], side: int) -> None:
    """Write an int8 copy of the graph of resized images (ONNX Runtime's static quantisation, a scale a channel).

    Args:
        core: The graph in float32.
        out: The graph in int8.
        images: Good images, from which the range of each tensor is taken; never test images.
        side: Of what the encoder sees, in pixels.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            path = next(self._images, None)
            if path is None:
                return None
            pixels = resize(Image.fromarray(load_rgb(path)), side)
            return {RESIZED: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}

    with silence():  # it advises to fold constants first, which torch's exporter has done
        quantize_static(
            core,
            out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=_QUANTISED,
            nodes_to_quantize=encoder_nodes(onnx.load(core))[FLOAT_AT_FIRST:],
            extra_options={"OpTypesToExcludeOutputQuantization": _QUANTISED},
        )


def encoder_nodes(core: "ModelProto") -> list[str]:
    """The products of the encoder, the first of them first.

    They are what the features depend on, and those are where numbers become half precision.
    """
    from onnx import TensorProto

    makers = {output: node for node in core.graph.node for output in node.output}
    features = [
        node
        for node in core.graph.node
        if node.op_type == "Cast" and any(a.name == "to" and a.i == TensorProto.FLOAT16 for a in node.attribute)
    ]
    found, waiting = set[str](), [name for node in features for name in node.input]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            waiting += node.input
    return [node.name for node in core.graph.node if node.name in found and node.op_type in _QUANTISED]


def measure(inspector: "Inspector", rows: "pd.DataFrame", params: Params, label: str) -> dict[str, Any]:
    """Metrics of a model on test images, as the stage `evaluate` takes them."""
    metrics = CategoryMetrics(params.evaluate.max_side, inspector.threshold)
    for row, prediction in _predictions(inspector, rows, label):
        metrics.update(row, prediction.score, torch.from_numpy(prediction.anomaly_map))
    mean = metrics.compute()["mean"]
    return {name: mean[name] for name in [*METRICS, "recall", "false_positive_rate"]}


def recalibrate(inspector: "Inspector", held_out: "pd.DataFrame") -> Threshold:
    """Thresholds for scores in int8, which lie a little elsewhere, from the held-out good images.

    Raises:
        HarmoniadError: There are none.
    """
    old = inspector.threshold
    found = [prediction for _, prediction in _predictions(inspector, held_out, "calibrate")]
    return calibrate(
        [prediction.score for prediction in found],
        held_out["category"].tolist(),
        false_positive_rate=old.false_positive_rate,
        normal_level=float(np.median([np.median(prediction.anomaly_map) for prediction in found] or [0.0])),
        image_score=old.image_score,
    )


def table(accuracy: dict[str, Any]) -> str:
    """Before and after, as markdown."""
    names = {**METRICS, "recall": "recall at the threshold", "false_positive_rate": "false alarms at the threshold"}
    lines = ["| on the test images | float32 | int8 | difference |", "|---|---|---|---|"]
    for key, name in names.items():
        before, after = accuracy["float32"][key], accuracy["int8"][key]
        cells = ["–", "–", "–"]
        if before is not None and after is not None:
            cells = [f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def loss(accuracy: dict[str, Any]) -> str:
    """What int8 costs, as a sentence."""
    before, after = accuracy["float32"], accuracy["int8"]
    lost = {name: before[key] - after[key] for key, name in METRICS.items() if None not in (before[key], after[key])}
    if not lost:
        return "The test images do not tell what int8 costs: they lack good or defective ones."
    name, most = max(lost.items(), key=lambda each: each[1])
    if most <= 0:
        return "int8 loses nothing on them."
    warning = ": too much for most uses, export without --int8" if most > MUCH else ""
    return f"int8 loses {most:.4f} of {name}, and of the others less{warning}."


def test_images(manifest: "pd.DataFrame") -> "pd.DataFrame":
    """The test images of the project.

    Raises:
        HarmoniadError: There are none.
    """
    test = manifest[manifest["split"] == "test"]
    if test.empty:
        raise HarmoniadError("export: no test images, so the accuracy of int8 cannot be told. Export without --int8.")
    return test


def _predictions(
    inspector: "Inspector", rows: "pd.DataFrame", label: str
) -> "Iterator[tuple[dict[str, Any], Prediction]]":
    records = rows.to_dict("records")
    with Progress(label, len(records), "images") as progress:
        for start in range(0, len(records), BATCH_SIZE):
            batch = records[start : start + BATCH_SIZE]
            images = [load_rgb(Path(row["path"])) for row in batch]
            yield from zip(batch, inspector.predict(images, [row["category"] for row in batch]), strict=True)
            progress.advance(len(batch))
