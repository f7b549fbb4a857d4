"""Metrics of anomaly detection on raw scores, usable on their own: they need numpy, and scipy for the regions.

Pure functions (`auroc`, `average_precision`, `f1_max`, `aupro`) are exact and hold everything in memory; the
accumulators (`ImageMetrics`, `PixelMetrics`) take one image at a time. None means "not defined for these labels".
"""

from harmoniad.metrics.curves import auroc, average_precision, f1_max
from harmoniad.metrics.pro import aupro
from harmoniad.metrics.streaming import ImageMetrics, PixelMetrics

__all__ = ["ImageMetrics", "PixelMetrics", "aupro", "auroc", "average_precision", "f1_max"]
