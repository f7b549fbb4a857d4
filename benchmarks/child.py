"""The process of one cell, so that its peak memory is its own. Called by `cells.py` with a JSON file that tells
the job.

Recall by defect area: a defect image counts as found if its score is above the threshold of its category, which
is set on held-out good images alone; its area is that of its whole mask as a share of the image. Images without
a mask have none.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script is looked for in its own folder only

import torch
from PIL import Image

from harmoniad.data.images import load_rgb
from harmoniad.data.manifest import read_table
from harmoniad.environment import keep_quiet
from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import Encoder, EncoderSpec, choose_device, resize
from harmoniad.files import read_json, write_json
from harmoniad.leaderboard import measure as leaderboard
from harmoniad.metrics.verdicts import AREAS
from harmoniad.params import Params
from harmoniad.peak_memory import peak_memory
from harmoniad.stages.encode import encode_images

if TYPE_CHECKING:
    import pandas as pd

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
    """Train and measure, and count which images are flagged."""
    measured = leaderboard.measure(manifest, params)
    return {key: value for key, value in measured.items() if key != "scores"} | {"found": found(measured["scores"])}


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


def found(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """How many images of each category and area were flagged: {category: {area or good: [flagged, all]}}."""
    counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: {name: [0, 0] for name in (*AREAS, "good")})
    for row in scores:
        group = row["area"] if row["label"] == "defect" else "good"
        if group:
            count = counts[row["category"]][group]
            count[0] += row["score"] > row["threshold"]
            count[1] += 1
    return counts


if __name__ == "__main__":
    main()
