"""How long an image takes from its file to the verdict, one image at a time as on the line."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harmoniad.data.images import load_rgb
from harmoniad.features.encoders import Encoder, choose_device
from harmoniad.inspector import Inspector
from harmoniad.models.storage import TrainedModel
from harmoniad.scoring import Threshold

if TYPE_CHECKING:
    import pandas as pd

IMAGES, WARM_UP = 12, 2  # a first image is slower: kernels are chosen, files are read from the disk


def measure_latency(rows: "pd.DataFrame", model: TrainedModel, threshold: Threshold, device: str) -> dict[str, Any]:
    """Inspect some images one by one, from reading the file to the map in the image's own size.

    Args:
        rows: Of the manifest; some of them, evenly spread, are inspected.
        model: The detector.
        threshold: Its thresholds.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        `ms_per_image` (the median), `slowest_ms`, the number of `images` and the `device`.

    Raises:
        HarmoniadError: The weights of the encoder are missing, or an image cannot be decoded.
    """
    chosen = choose_device(device)
    inspector = Inspector(model, threshold, Encoder(model.encoder, chosen))
    positions = np.linspace(0, len(rows) - 1, IMAGES).round().astype(int)
    images = [(Path(rows["path"].iloc[position]), rows["category"].iloc[position]) for position in positions]
    for path, category in images[:WARM_UP]:
        inspector.predict([load_rgb(path)], [category])
    took = []
    for path, category in images:
        start = time.perf_counter()
        inspector.predict([load_rgb(path)], [category])
        took.append(1000 * (time.perf_counter() - start))
    return {
        "ms_per_image": round(float(np.median(took)), 2),
        "slowest_ms": round(max(took), 2),
        "images": len(took),
        "device": chosen.type,
    }
