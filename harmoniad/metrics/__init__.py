"""Metrics of anomaly detection on raw scores, usable on their own: they need numpy, and scipy for the regions.

Pure functions (`auroc`, `average_precision`, `f1_max`, `aupro`) are exact and hold everything in memory; the
accumulators (`ImageMetrics`, `PixelMetrics`) take one image at a time. None means "not defined for these labels".
"""

from harmoniad.metrics.curves import auroc, average_precision, f1_max
from harmoniad.metrics.intervals import auroc_interval, recall_interval
from harmoniad.metrics.pro import aupro
from harmoniad.metrics.streaming import ImageMetrics, PixelMetrics
from harmoniad.metrics.verdicts import Rates, rates_at

__all__ = [
    "ImageMetrics",
    "PixelMetrics",
    "Rates",
    "aupro",
    "auroc",
    "auroc_interval",
    "average_precision",
    "f1_max",
    "rates_at",
    "recall_interval",
]
