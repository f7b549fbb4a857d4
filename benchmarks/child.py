"""The process of one cell, so that its peak memory is its own. Called by `cells.py` with a JSON file that tells
the job.

Recall by defect area: a defect image counts as found if its score is above the threshold of its category, which
is set on held-out good images alone; its area is that of its whole mask as a share of the image. Images without
a mask have none.
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script is looked for in its own folder only

import torch
from PIL import Image

from benchmarks.common import peak_memory
from harmoniad.data.images import load_rgb
from harmoniad.data.manifest import read_table
from harmoniad.environment import keep_quiet
from harmoniad.errors import HarmoniadError
from harmoniad.evaluation import CategoryMetrics, Scored, score_images
from harmoniad.features.encoders import Encoder, EncoderSpec, choose_device, resize
from harmoniad.files import read_json, write_json
from harmoniad.params import Params
from harmoniad.scoring import Threshold
from harmoniad.stages.encode import encode_images
from harmoniad.stages.evaluate import threshold_of
from harmoniad.stages.train import train_model

if TYPE_CHECKING:
    import pandas as pd

AREAS = {"tiny": 0.001, "small": 0.01, "large": float("inf")}
"""Upper bounds of a defect's area as a share of the image."""
SPEED_IMAGES, SPEED_BATCH = 64, 16


def main() -> None:
    job = read_json(Path(sys.argv[1]))
    keep_quiet()
    params = Params.model_validate(job["params"])
    torch.manual_seed(params.seed)
    tasks = {"encode": encode, "measure": measure, "encoder_speed": encoder_speed}
    try:
        answer = tasks[job["task"]](read_table(Path(job["manifest"])), params)
    except HarmoniadError as error:
        answer = {"error": str(error)}
    except KeyboardInterrupt:
        sys.exit(130)  # the parent tells
    write_json(Path(job["answer"]), answer)


def encode(manifest: "pd.DataFrame", params: Params) -> dict[str, Any]:
    """Fill the cache, so that no cell's time or memory is the encoder's."""
    encode_images(manifest, EncoderSpec.from_params(params.encoder), params)
    return {}


def measure(manifest: "pd.DataFrame", params: Params) -> dict[str, Any]:
    """Train, set the threshold on held-out good images, and measure on the test images."""
    held_out = manifest[(manifest["split"] == "held_out") & (manifest["label"] == "good")]
    test = manifest[manifest["split"] == "test"]
    if test.empty:
        raise HarmoniadError("there are no test images.")
    with tempfile.TemporaryDirectory(prefix="harmoniad-checkpoint-") as folder:
        start = time.perf_counter()
        training = train_model(manifest, params, Path(folder))
        train_seconds = time.perf_counter() - start
    model, cache = training.model, training.features.cache
    threshold, _ = threshold_of(held_out, model, cache, params)

    metrics, found, clock = CategoryMetrics(params.evaluate.max_side), _Found(threshold), _Clock()
    records = test.to_dict("records")
    scores = score_images(test, model, cache, threshold.image_score, "score")
    for scored in clock.timed(scores):
        row: dict[str, Any] = {str(key): value for key, value in records[scored.position].items()}
        metrics.update(row, scored.score, scored.pixel_map)
        found.update(row, scored.score)
    return {
        **metrics.compute(),
        "found": found.counts,
        "train_images": len(training.features),
        "test_images": len(test),
        "train_seconds": train_seconds,
        "scoring_images_per_second": len(test) / clock.seconds,
        "peak_memory_bytes": peak_memory(),
        "threads": torch.get_num_threads(),
    }


def encoder_speed(manifest: "pd.DataFrame", params: Params) -> dict[str, Any]:
    """Images a second from the files to the features, without the cache: decoded and resized one by one."""
    encoder = Encoder(EncoderSpec.from_params(params.encoder), choose_device(params.device))
    paths = [Path(path) for path in manifest.loc[manifest["split"] == "test", "path"]]
    paths = paths[:: max(1, len(paths) // SPEED_IMAGES)][:SPEED_IMAGES]

    def encode_batch(batch: list[Path]) -> None:
        images = [resize(Image.fromarray(load_rgb(path)), params.encoder.resolution) for path in batch]
        _ = [layer.cpu() for layer in encoder(images)]

    encode_batch(paths[:2])
    start = time.perf_counter()
    for first in range(0, len(paths), SPEED_BATCH):
        encode_batch(paths[first : first + SPEED_BATCH])
    seconds = time.perf_counter() - start
    return {
        "images_per_second": len(paths) / seconds,
        "images": len(paths),
        "peak_memory_bytes": peak_memory(),
        "threads": torch.get_num_threads(),
    }


class _Found:
    """How many images of each category and area were flagged: {category: {area or good: [flagged, all]}}."""

    def __init__(self, threshold: Threshold) -> None:
        self._threshold = threshold
        self.counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: {name: [0, 0] for name in (*AREAS, "good")})

    def update(self, row: dict[str, Any], score: float) -> None:
        group = area_of(row) if row["label"] == "defect" else "good"
        if group is None:
            return
        count = self.counts[row["category"]][group]
        count[0] += score > self._threshold.of(row["category"])
        count[1] += 1


def area_of(row: dict[str, Any]) -> str | None:
    """The name of the area of a row of the manifest; None if its defect is not marked."""
    share = row["mask_area"] / max(1, row["mask_width"] * row["mask_height"])
    return next(name for name, bound in AREAS.items() if share < bound) if share else None


class _Clock:
    """Adds up how long an iterator takes, without what is done with its items."""

    seconds = 0.0

    def timed(self, items: Iterable[Scored]) -> Iterator[Scored]:
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            item = next(iterator, None)
            self.seconds += time.perf_counter() - start
            if item is None:
                return
            yield item


if __name__ == "__main__":
    main()
