"""Training from the cache: what an epoch costs in time and memory as the number of cached images grows.

    python benchmarks/training_time.py

The features are random numbers, written by the cache itself in its own format, in the shapes that
EfficientNet-lite0 gives at 256 px for stages 2 and 3 (40 x 32 x 32 and 112 x 16 x 16): time and memory do not
depend on what they are. Each row is a process of its own.

An epoch is the difference between a training of two epochs and one of one; what both have in common (a memory's
coreset, the scale of the maps) is `besides`. A detector that does not go through its images in epochs has none:
`besides` is its whole fit. HarmoniAD's head 2 learns from at most 1,000 views, in a number of steps that does not
grow with the images; here it takes 50. Encoder passes are counted where the encoder is called.
`peak RSS` counts the pages of the mapped files that happen to be in memory, which the system takes back when it
needs them; `peak anonymous` is what cannot be taken back, sampled 50 times a second (Linux only).
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script is looked for in its own folder only

import numpy as np

from benchmarks import common
from harmoniad.environment import keep_quiet
from harmoniad.errors import HarmoniadError
from harmoniad.features.cache import FeatureCache
from harmoniad.features.dataset import CachedFeatures
from harmoniad.features.encode import ensure_features
from harmoniad.features.encoders import Encoder, EncoderSpec, choose_device
from harmoniad.files import write_bytes
from harmoniad.models.detector import detector_class
from harmoniad.params import PARAMS_FILE, Params
from harmoniad.peak_memory import peak_memory, status_bytes
from harmoniad.progress import Progress

HEAD_STEPS = 50
SHAPES = ((40, 32, 32), (112, 16, 16))
COLUMNS = {
    "detector": "detector",
    "images": "images",
    "feature_mb": "features MB",
    "epoch_seconds": "s an epoch",
    "besides_seconds": "s besides",
    "encoder_passes": "encoder passes",
    "peak_rss_mb": "peak RSS MB",
    "peak_anonymous_mb": "peak anonymous MB",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the table.

    Raises:
        HarmoniadError: A detector is unknown, or a process failed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=common.numbers, default=[500, 1000, 2000, 4000], help="numbers of images")
    parser.add_argument("--detectors", type=common.names, default=["harmoniad", "dinomaly", "patchcore"])
    parser.add_argument("--params", type=Path, default=PARAMS_FILE)
    parser.add_argument("--folder", type=Path, help="where the features go (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/training_time"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    keep_quiet()
    if options.child:
        print(json.dumps(measure(json.loads(options.child))))
        return
    base = common.read_yaml(options.params)
    of_detector = {
        name: common.params_of(f"--detectors {name}", base, {"detector": {"name": name}, "encoder": _LITE0})
        for name in options.detectors
    }
    with tempfile.TemporaryDirectory(prefix="harmoniad-features-", dir=options.folder) as folder:
        write_features(Path(folder), max(options.counts))
        rows = [
            _run_child(params, count, folder) for params in of_detector.values() for count in sorted(options.counts)
        ]
    text = markdown(rows)
    write_bytes(options.out / "training_time.md", f"{text}\n".encode())
    print(text)


_LITE0 = {"name": "timm:tf_efficientnet_lite0", "weights": "embedded", "resolution": 256, "layers": [2, 3]}


def write_features(folder: Path, count: int) -> None:
    """Fill a cache with random features of images that do not exist."""
    spec = EncoderSpec.from_params(common.params_of("", {"encoder": _LITE0}).encoder)
    cache = FeatureCache.create(folder, spec, SHAPES)
    random = np.random.default_rng(0)
    with Progress("features", count, "images") as progress:
        for image in _images(count):
            cache.write(image, [random.standard_normal(shape, dtype=np.float32) for shape in SHAPES])
            progress.advance()


def _images(count: int) -> list[str]:
    return [f"{index:064x}"[::-1] for index in range(count)]


def _run_child(params: Params, count: int, folder: str) -> dict[str, Any]:
    job = {"params": params.model_dump(mode="json", by_alias=True), "count": count, "folder": folder}
    command = [sys.executable, str(Path(__file__).resolve()), "--child", json.dumps(job)]
    done = subprocess.run(
        command, env=common.environment_of_child(), stdout=subprocess.PIPE, encoding="utf-8", check=False
    )
    if done.returncode:
        raise HarmoniadError(f"{params.detector.name}, {count} images: the process ended with {done.returncode}.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print({key: found[key] for key in COLUMNS}, file=sys.stderr)
    return found


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Train on some images of the cache: one epoch, then two, if the detector is trained by gradient."""
    params, count = Params.model_validate(job["params"]), job["count"]
    params = params.model_copy(update={"encode": params.encode.model_copy(update={"cache": job["folder"]})})
    passes = _count_encoder_passes()
    has_epochs = params.detector.name in ("dinomaly", "inp_former") or (
        params.detector.name == "harmoniad" and params.detector.harmoniad.reconstruction
    )
    with _AnonymousMemory() as memory:
        features = _features(params, count)
        one = _fit(params, features, epochs=1)
        epoch = _fit(params, features, epochs=2) - one if has_epochs else float("nan")
    return {
        "detector": params.detector.name,
        "images": count,
        "feature_mb": count * sum(np.prod(shape) for shape in SHAPES) * 2 / 1e6,
        "epoch_seconds": epoch,
        "besides_seconds": one - epoch if has_epochs else one,
        "encoder_passes": len(passes),
        "peak_rss_mb": peak_memory() / 1e6,
        "peak_anonymous_mb": memory.peak / 1e6,
    }


def _features(params: Params, count: int) -> CachedFeatures:
    """As `stages.train.train_model` makes them, but for images of which there are features only."""
    spec = EncoderSpec.from_params(params.encoder)
    images = _images(count)
    missing_files = {image: Path("no such image") for image in images}
    cache, _ = ensure_features(missing_files, spec, params.encode, params.device)
    return CachedFeatures(cache, images, [f"product {index % 3}" for index in range(count)])


def _fit(params: Params, features: CachedFeatures, epochs: int) -> float:
    """Seconds."""
    steps = max(1, epochs * (len(features) // params.train.batch_size))
    chosen = params.model_copy(update={"train": params.train.model_copy(update={"steps": steps})})
    # There are features only, so no copies with made defects: head 2 learns from defects that are made in features.
    design = {"feature_defects": True, "head_steps": HEAD_STEPS}
    harmoniad = params.detector.harmoniad.model_copy(update=design)
    chosen = chosen.model_copy(update={"detector": params.detector.model_copy(update={"harmoniad": harmoniad})})
    detector = detector_class(params.detector.name).create(features.shapes, chosen)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        detector.fit(features, device=choose_device(params.device), checkpoint=Path(folder) / "c.safetensors")
        return time.perf_counter() - start


def _count_encoder_passes() -> list[None]:
    """A list that grows by one each time an encoder looks at a batch."""
    passes: list[None] = []
    encode = Encoder.__call__

    def counted(self: Encoder, images: Sequence[np.ndarray]) -> Any:
        passes.append(None)
        return encode(self, images)

    Encoder.__call__ = counted  # type: ignore[method-assign]
    return passes


class _AnonymousMemory:
    """Samples how much memory this process has that is not a file's; 0 where the system does not tell."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, status_bytes("RssAnon"))

    def __enter__(self) -> "_AnonymousMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table."""
    lines = [f"| {' | '.join(COLUMNS.values())} |", f"|---|{'---:|' * (len(COLUMNS) - 1)}"]
    for row in rows:
        cells = []
        for key in COLUMNS:
            value = row[key]
            if isinstance(value, float):
                value = "–" if math.isnan(value) else f"{value:.1f}" if key.endswith("seconds") else f"{value:.0f}"
            cells.append(str(value))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    common.run_main(main)
