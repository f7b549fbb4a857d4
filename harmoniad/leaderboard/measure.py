"""Training and measuring one detector on one data set, in a process of its own, so that its peak memory is its own.

`python -m harmoniad.leaderboard.measure JOB.json` is what the flow calls for each entry.
"""

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harmoniad.data.manifest import read_table
from harmoniad.data.masks import read_regions
from harmoniad.environment import keep_quiet
from harmoniad.errors import HarmoniadError
from harmoniad.evaluation import CategoryMetrics, Scored, score_images
from harmoniad.features.encoders import EncoderSpec
from harmoniad.files import read_json, write_json
from harmoniad.metrics.verdicts import AREAS
from harmoniad.params import Params
from harmoniad.peak_memory import peak_memory
from harmoniad.stages.encode import encode_images
from harmoniad.stages.evaluate import threshold_of
from harmoniad.stages.train import delete_checkpoints, train_model

if TYPE_CHECKING:
    import pandas as pd


def main() -> None:
    """Do what the job's file says and write the answer: figures, or `error` with what the user can mend."""
    job = read_json(Path(sys.argv[1]))
    keep_quiet()
    params = Params.model_validate(job["params"])
    torch.manual_seed(params.seed)
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    manifest = read_table(Path(job["manifest"]))
    try:
        if job["task"] == "encode":
            encode_images(manifest, EncoderSpec.from_params(params.encoder), params)
            answer: dict[str, Any] = {}
        else:
            answer = measure(manifest, params, Path(job["checkpoints"]))
    except HarmoniadError as error:
        answer = {"error": str(error)}
    except KeyboardInterrupt:
        sys.exit(130)  # the parent tells
    write_json(Path(job["answer"]), answer)


def measure(manifest: "pd.DataFrame", params: Params, checkpoints: Path | None = None) -> dict[str, Any]:
    """Train, set the threshold on held-out good images, and measure on the test images.

    Args:
        manifest: Of the data set's usable images, all of which the cache holds: no time is the encoder's.
        params: Name detector and seed.
        checkpoints: Folder from which an interrupted training goes on; None for none.

    Returns:
        `mean` and `categories` as in `results/evaluate/metrics.json`, `scores` (a mapping a test image), and what it
        cost: `train_seconds`, `scoring_images_per_second` (from the cached features to the image score),
        `peak_memory_bytes`, `threads`; and provenance.

    Raises:
        HarmoniadError: There are no test images, no held-out ones or no training images.
    """
    held_out = manifest[(manifest["split"] == "held_out") & (manifest["label"] == "good")]
    test = manifest[manifest["split"] == "test"]
    if test.empty:
        raise HarmoniadError("there are no test images.")
    with tempfile.TemporaryDirectory(prefix="harmoniad-checkpoint-") as folder:
        start = time.perf_counter()
        training = train_model(manifest, params, checkpoints or Path(folder))
        train_seconds = time.perf_counter() - start
    model, cache = training.model, training.features.cache
    threshold, _ = threshold_of(held_out, model, cache, params)

    metrics, clock, table = CategoryMetrics(params.evaluate.max_side), Clock(), []
    records: list[dict[str, Any]] = test.to_dict("records")  # type: ignore[assignment]
    saturated = set(test.loc[test["saturation"] != "", "category"])
    for scored in clock.timed(score_images(test, model, cache, threshold.image_score, "score")):
        row = records[scored.position]
        regions = read_regions(row) if row["category"] in saturated else None
        metrics.update(row, scored.score, scored.pixel_map, regions)
        table.append(
            {
                **{key: row[key] for key in ("path", "category", "label", "defect", "group")},
                "area": area_of(row) or "",
                "score": scored.score,
                "threshold": threshold.of(row["category"]),
            }
        )
    delete_checkpoints(training.checkpoint)
    return {
        **metrics.compute(),
        "scores": table,
        "train_images": len(training.features),
        "test_images": len(test),
        "train_seconds": train_seconds,
        "scoring_images_per_second": len(test) / clock.seconds,
        "peak_memory_bytes": peak_memory(),
        "threads": torch.get_num_threads(),
        "encoder": model.encoder.name,
        "weights": f"{Path(model.encoder.weights).name} ({model.encoder.weights_sha256[:12]})",
        "resolution": model.encoder.resolution,
    }


def area_of(row: dict[str, Any]) -> str | None:
    """The name of the area of a row of the manifest; None if its defect is not marked."""
    share = row["mask_area"] / max(1, row["mask_width"] * row["mask_height"])
    return next(name for name, bound in AREAS.items() if share < bound) if share else None


class Clock:
    """Adds up how long an iterator takes, without what is done with its items."""

    seconds = 0.0

    def timed(self, items: Iterable[Scored]) -> Iterator[Scored]:
        """The same items."""
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
