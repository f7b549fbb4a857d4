"""One contender of `metrics.py` on one set of maps, in a process of its own; prints its times and figures as JSON.

    python benchmarks/metrics_contender.py CONTENDER COUNT SIDE THREADS

Needs numpy and scipy, and for anomalib's and torchmetrics' contenders an environment that has them.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

Maps = Iterator[tuple[np.ndarray, np.ndarray]]


def main() -> None:
    name, count, side, threads = sys.argv[1], *(int(value) for value in sys.argv[2:5])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints does not belong into the answer
    if "torch" in name or "anomalib" in name:
        import torch

        torch.set_num_threads(threads)
    add, compute = CONTENDERS[name]()
    seconds = processor = 0.0
    for mask, scores in maps(count, side):
        wall, cpu = time.perf_counter(), time.process_time()
        add(mask, scores)
        seconds += time.perf_counter() - wall
        processor += time.process_time() - cpu
    wall, cpu = time.perf_counter(), time.process_time()
    figures = compute()
    seconds += time.perf_counter() - wall
    processor += time.process_time() - cpu
    answers.write(json.dumps({"seconds": seconds, "processor": processor, "figures": figures, "peak_mb": peak_mb()}))


def maps(count: int, side: int) -> Maps:
    """Smooth, skewed scores in (0, 1), each map another; every second image has three defects of different strength."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    base = [ndimage.gaussian_filter(rng.normal(size=(side, side)), side / 64, mode="wrap") for _ in range(8)]
    base = [0.02 * np.exp(1.2 * field / field.std()) for field in base]
    mask = np.zeros((side, side), bool)
    bump = np.ones((side, side))
    for top, left, height, width, factor in ((8, 8, 10, 14, 4.0), (32, 40, 3, 12, 2.5), (50, 10, 2, 2, 8.0)):
        box = (
            slice(top * side // 64, (top + height) * side // 64),
            slice(left * side // 64, (left + width) * side // 64),
        )
        mask[box], bump[box] = True, factor
    nothing = np.zeros_like(mask)
    for index in range(count):
        field = np.roll(base[index % 8], index * 37, axis=1) * rng.uniform(0.8, 1.2)
        is_defect = index % 2 == 1
        scores = np.minimum(field * bump if is_defect else field, 0.999999).astype(np.float32)
        yield (mask if is_defect else nothing), scores


def peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


Contender = tuple[Callable[[np.ndarray, np.ndarray], Any], Callable[[], dict[str, float]]]


def harmoniad() -> Contender:
    """All metrics in one pass."""
    from harmoniad.metrics import PixelMetrics

    metrics = PixelMetrics()

    def compute() -> dict[str, float]:
        return {key: value for key, value in metrics.compute().items() if value is not None}

    return metrics.update, compute


def exact_sort() -> Contender:
    """The same metrics but AUPIMO from one sort of all pixels."""
    from harmoniad.metrics.curves import accumulate, best_f1, overlap_area, precision_area, roc_area
    from harmoniad.metrics.pro import region_weights

    masks: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    weights: list[np.ndarray] = []

    def add(mask: np.ndarray, anomaly_map: np.ndarray) -> None:
        weight = np.zeros(mask.shape)
        weight[mask] = region_weights(mask)
        masks.append(mask.ravel())
        scores.append(anomaly_map.ravel())
        weights.append(weight.ravel())

    def compute() -> dict[str, float]:
        hit = np.concatenate(masks)
        masses = np.stack([hit, ~hit, np.concatenate(weights)])
        thresholds, (hits, misses, overlap) = accumulate(np.concatenate(scores), masses)
        best = best_f1(thresholds, hits, misses)
        assert best is not None
        found = {
            "pixel_auroc": roc_area(hits, misses),
            "pixel_ap": precision_area(hits, misses),
            "pixel_f1max": best[0],
            "aupro": overlap_area(overlap, misses, 0.3),
            "aupro_05": overlap_area(overlap, misses, 0.05),
        }
        return {key: value for key, value in found.items() if value is not None}

    return add, compute


def peer(build: Callable[[], Any], key: str, *, flat: bool) -> Callable[[], Contender]:
    """A metric of torchmetrics or anomalib, which takes tensors map by map."""

    def contender() -> Contender:
        import torch

        metric = build()

        def add(mask: np.ndarray, scores: np.ndarray) -> None:
            target, values = torch.from_numpy(mask).to(torch.int64), torch.from_numpy(scores)
            metric.update(*((values.flatten(), target.flatten()) if flat else (values[None], target[None])))

        return add, lambda: {key: float(metric.compute())}

    return contender


def anomalib_aupro() -> Any:
    from anomalib.metrics.aupro import _AUPRO

    return _AUPRO(fpr_limit=0.3)


def anomalib_auroc() -> Any:
    from anomalib.metrics.auroc import _AUROC

    return _AUROC()


def torchmetrics_of(name: str, **options: Any) -> Callable[[], Any]:
    def build() -> Any:
        import torchmetrics.classification

        return getattr(torchmetrics.classification, name)(**options)

    return build


CONTENDERS: dict[str, Callable[[], Contender]] = {
    "harmoniad": harmoniad,
    "exact sort": exact_sort,
    "anomalib AUPRO": peer(anomalib_aupro, "aupro", flat=False),
    "anomalib AUROC": peer(anomalib_auroc, "pixel_auroc", flat=True),
    "torchmetrics AUROC": peer(torchmetrics_of("BinaryAUROC"), "pixel_auroc", flat=True),
    "torchmetrics AP": peer(torchmetrics_of("BinaryAveragePrecision"), "pixel_ap", flat=True),
    "torchmetrics AUROC, 200 thresholds": peer(
        torchmetrics_of("BinaryAUROC", thresholds=200), "pixel_auroc", flat=True
    ),
}

if __name__ == "__main__":
    main()
