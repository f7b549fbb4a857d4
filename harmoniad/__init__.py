"""Visual quality inspection: one joint anomaly detection model over all products of a plant."""

__version__ = "0.1.0"
