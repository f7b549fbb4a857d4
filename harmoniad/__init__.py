"""Visual quality inspection: one joint anomaly detection model over all products of a plant."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmoniad.inspector import Inspector

__version__ = "0.1.0"

__all__ = ["__version__", "load"]


def load(model: str | Path = "champion", device: str = "auto") -> "Inspector":
    """Load a model to score images with: `harmoniad.load("models:/harmoniad@champion").predict(images)`.

    Args:
        model: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, an alias or a number of the project's model, or a folder
            that holds `model.json`, `detector.safetensors` and `threshold.json`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        HarmoniadError: There is no such model, its files are missing or changed, or this version cannot use it.
    """
    from harmoniad.loading import load as load_model

    return load_model(model, device)
