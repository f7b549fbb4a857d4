"""The registered model: MLflow copies this file beside the weights and runs it when the model is loaded.

It imports harmoniad, so the package must be installed where the model is served.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext


class InspectionModel(PythonModel):
    """Images in, scores, verdicts and anomaly maps out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the detector and the encoder from the model's folder.

        Raises:
            HarmoniadError: The files were changed since the model was registered.
        """
        from harmoniad.inspector import Inspector
        from harmoniad.tracking.serving import check_digest

        folder = Path(context.artifacts["model"])
        check_digest(folder)
        self._inspector = Inspector.load(folder)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Inspect some images.

        Args:
            context: Not used.
            model_input: An array of uint8 (B, H, W, 3), or of texts: the content of PNG or JPEG files in base64.
            params: `category`: which product all of the images show, for its own threshold; without it, the joint
                threshold holds. `anomaly_map`: whether to answer the maps too, which are long in JSON.

        Returns:
            `score`, `is_anomalous` and `threshold` (B,); `regions`, for each image those of `find_regions`; and
            `anomaly_map` (B, H, W) float32, in which higher is worse, a list where the sizes differ.

        Raises:
            MlflowException: An image cannot be decoded or is no array of uint8; a server answers it with status 400.
        """
        from harmoniad.errors import HarmoniadError
        from harmoniad.tracking.serving import answer, images_of

        chosen = params or {}
        try:
            images = list(images_of(model_input))
            predictions = self._inspector.predict(images, chosen.get("category") or None)
        except HarmoniadError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return answer(predictions, bool(chosen.get("anomaly_map", True)))


mlflow.models.set_model(InspectionModel())
