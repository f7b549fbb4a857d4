"""Detectors: each sees features and gives anomaly maps."""
