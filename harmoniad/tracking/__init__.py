"""MLflow: logging, the model registry and the gate."""
