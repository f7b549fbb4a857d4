"""Metrics of anomaly detection on raw scores, usable on their own: they need numpy, and scipy for the regions.

Pure functions (`auroc`, `average_precision`, `f1_max`, `aupro`, `spro`, `aupimo`, `rates_at`, `recall_at_rate`,
`recall_by_area`, `auroc_interval`, `auroc_difference`, `recall_interval`) are exact and hold everything in memory; the
accumulators (`ImageMetrics`, `PixelMetrics`, `SproMetrics`) take one image at a time and can be merged. None means "not
defined for these labels".
"""

from harmoniad.metrics.curves import auroc, average_precision, f1_max
from harmoniad.metrics.intervals import auroc_difference, auroc_interval, recall_interval
from harmoniad.metrics.pimo import aupimo, aupimo_of_images
from harmoniad.metrics.pro import aupro
from harmoniad.metrics.spro import SproMetrics, spro
from harmoniad.metrics.streaming import ImageMetrics, PixelMetrics
from harmoniad.metrics.verdicts import Rates, rates_at, recall_at_rate, recall_by_area

__all__ = [
    "ImageMetrics",
    "PixelMetrics",
    "Rates",
    "SproMetrics",
    "aupimo",
    "aupimo_of_images",
    "aupro",
    "auroc",
    "auroc_difference",
    "auroc_interval",
    "average_precision",
    "f1_max",
    "rates_at",
    "recall_at_rate",
    "recall_by_area",
    "recall_interval",
    "spro",
]
