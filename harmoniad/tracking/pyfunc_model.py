"""The registered model: MLflow copies this file beside the weights and runs it when the model is loaded.

It imports harmoniad, so the package must be installed where the model is served.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext


class InspectionModel(PythonModel):
    """Images in, scores, verdicts and anomaly maps out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the detector and the encoder from the model's folder."""
        from harmoniad.inspector import Inspector

        self._inspector = Inspector.load(Path(context.artifacts["model"]))

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        """Inspect some images.

        Args:
            context: Not used.
            model_input: Images (B, H, W, 3), uint8.
            params: `category`: which product all of the images show, for its own threshold; without it, the joint
                threshold holds.

        Returns:
            `score`, `is_anomalous` and `threshold` (B,), `anomaly_map` (B, H, W) float32, in which higher is worse.
        """
        category = (params or {}).get("category")
        categories = [category] * len(model_input) if category else None
        predictions = self._inspector.predict(list(model_input), categories)
        return {
            "score": np.array([prediction.score for prediction in predictions]),
            "is_anomalous": np.array([prediction.is_anomalous for prediction in predictions], dtype=bool),
            "threshold": np.array([prediction.threshold for prediction in predictions]),
            "anomaly_map": np.array([prediction.anomaly_map for prediction in predictions], dtype=np.float32),
        }


mlflow.models.set_model(InspectionModel())
