"""HarmoniAD's contenders of `throughput.py`: the bare encoder, and a detector from JPEG bytes to verdict."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from throughput_protocol import serve, settings
from torch import Tensor

import harmoniad.inspector
from harmoniad.data.images import load_rgb
from harmoniad.features.encoders import Encoder, EncoderSpec
from harmoniad.files import write_json
from harmoniad.inspector import Inspector
from harmoniad.models.detector import detector_class
from harmoniad.models.storage import TrainedModel, save_model
from harmoniad.params import Params, load_params
from harmoniad.scoring import ImageScore, calibrate

CPU = torch.device("cpu")


def main() -> None:
    work = settings()
    torch.set_num_threads(work["threads"])
    {"prepare": prepare, "encoder": bare_encoder, "detector": detector}[work["role"]](work)


def params_of(work: dict[str, Any]) -> Params:
    """The design that `params.yaml` gives, on the benchmark's encoder and with one step of training."""
    params = load_params(Path(work["params"]))
    content = params.model_dump(by_alias=True)
    content["encoder"] = work["encoder"]
    content["detector"]["name"] = work["detector"]
    for section, values in work["design"].items():
        content["detector"][section].update(values)
    content["train"].update(steps=1, warmup_steps=0)
    return Params.model_validate(content)


def prepare(work: dict[str, Any]) -> None:
    """Make random weights where there are none, then a model for each detector on the training photographs."""
    weights = Path(work["encoder"]["weights"])
    if not weights.is_file():
        import timm

        torch.manual_seed(0)
        network = timm.create_model(work["encoder"]["name"].partition(":")[2], pretrained=False, num_classes=0)
        save_file(network.state_dict(), weights)
    spec = EncoderSpec.from_params(params_of({**work, "detector": work["detectors"][0]}).encoder)
    encoder = Encoder(spec, CPU)
    photographs = [load_rgb(Path(path)) for path in work["train"]]
    features = Features(encoder([encoder.resize(Image.fromarray(photograph)) for photograph in photographs]))
    for name in work["detectors"]:
        params = params_of({**work, "detector": name})
        found = detector_class(name).create(features.shapes, params)
        with tempfile.TemporaryDirectory() as folder:
            found.fit(features, device=CPU, checkpoint=Path(folder) / "checkpoint")
        model = TrainedModel(name, found, spec, ["photograph"], "", 0)
        folder = Path(work["models"]) / name
        save_model(folder, model)
        score = ImageScore.from_params(params.evaluate)
        with torch.inference_mode():
            maps = score.pixel_maps(found.anomaly_maps(features.batch(range(8))), spec.resolution)
            scores = score(maps).tolist()
        threshold = calibrate(scores, ["photograph"] * 8, false_positive_rate=0.05, normal_level=0.0, image_score=score)
        write_json(folder / "threshold.json", threshold.to_dict())
    serve(lambda batch: iter(()), {"encoder_mb": weights.stat().st_size / 1e6})


class Features:
    """Features of the training photographs, in memory and rounded as the cache rounds them."""

    def __init__(self, layers: Sequence[Tensor]) -> None:
        self._layers = [layer.half() for layer in layers]
        self.shapes = tuple(tuple(layer.shape[1:]) for layer in layers)
        self.categories = ["photograph"] * len(layers[0])
        self.images = [str(number) for number in range(len(layers[0]))]

    def __len__(self) -> int:
        return len(self.categories)

    def batch(self, indices: Sequence[int]) -> list[Tensor]:
        return [layer[list(indices)].float() for layer in self._layers]


def bare_encoder(work: dict[str, Any]) -> None:
    """Photographs decoded and resized beforehand; the batch goes through in parts of the size that is fastest here."""
    encoder = Encoder(EncoderSpec.from_params(params_of(work).encoder), CPU, work["precision"])
    images = np.stack([encoder.resize(Image.fromarray(load_rgb(Path(path)))) for path in work["images"]])

    def seconds(part: int) -> float:
        start = time.perf_counter()
        for first in range(0, 16, part):
            encoder.forward(images[first : min(first + part, 16)])
        return time.perf_counter() - start

    tried = {part: min(seconds(part) for _ in range(2)) for part in (16, 4, 1)}
    best = min(tried, key=lambda part: tried[part])

    def run(batch: int) -> Iterator[list[float]]:
        part = min(batch, best)
        for start in range(0, len(images), batch):
            for first in range(start, min(start + batch, len(images)), part):
                encoder.forward(images[first : min(first + part, start + batch)])
            yield []

    serve(run, {"images_at_once": best, "tried": {str(part): 16 / found for part, found in tried.items()}})


def detector(work: dict[str, Any]) -> None:
    """JPEG bytes in, verdicts out."""
    inspector = Inspector.load(Path(work["models"]) / work["detector"], "cpu", work["precision"])
    contents = [Path(path).read_bytes() for path in work["images"]]

    def run(batch: int) -> Iterator[list[float]]:
        if batch == 1:  # a camera that waits for the verdict
            for content in contents:
                yield [found.score for found in inspector.predict([load_rgb(Path("image"), content)])]
            return
        scores = []
        for found in inspector.predict_stream(contents, batch_size=batch, workers=work["workers"]):
            scores.append(found.score)
            if len(scores) == batch:
                yield scores
                scores = []
        if scores:
            yield scores

    serve(run, {}, {"profile": lambda: profile(inspector, contents[:16])})


def profile(inspector: Inspector, contents: Sequence[bytes]) -> dict[str, float]:
    """Seconds an image of each step, one after the other, without workers."""
    spent: dict[str, float] = {}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

        return call

    holders: list[tuple[Any, str, str]] = [
        (inspector.encoder, "resize", "resize to the encoder"),
        (Encoder, "__call__", "encoder"),
        (inspector.model.detector, "anomaly_maps", "detector"),
        (ImageScore, "pixel_maps", "upsample and smooth"),
        (ImageScore, "__call__", "image score"),
        (harmoniad.inspector, "resize_map", "map to the image's size"),
    ]
    for holder, attribute, name in holders:
        setattr(holder, attribute, timed(name, getattr(holder, attribute)))
    start = time.perf_counter()
    images = [timed("decode", load_rgb)(Path("image"), content) for content in contents]
    inspector.predict(images)
    total = time.perf_counter() - start
    spent["the rest"] = total - sum(spent.values())
    return {name: seconds / len(contents) for name, seconds in spent.items()}


if __name__ == "__main__":
    sys.exit(main())
