"""From a measured model to the registry: the DVC stage `register`."""

import os
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.stages import Limits, reproduce
from harmoniad.files import read_json

REGISTERED = Path("mlflow/store/registered.json")
LOCAL_STORE = "sqlite:///mlflow/store/mlflow.db"


@flow
def registration(limits: Limits | None = None) -> None:
    """Register the model and let the gate decide whether it becomes the champion.

    Args:
        limits: After how many minutes a stage is ended.
    """
    # DVC may call the stage up to date although the registry is empty. Registering again what is there changes nothing.
    reproduce("register", limits, ["--force", "register"])
    _publish(read_json(REGISTERED))


def _publish(registered: dict[str, Any]) -> None:
    row = {
        "version": registered.get("version"),
        "aliases": ", ".join(registered.get("aliases") or []),
        "decision": registered.get("decision"),
        "reasons": " ".join(registered.get("reasons") or []),
    }
    create_table_artifact([row], key="registered-model", description="What the gate decided")
    uri = os.environ.get("MLFLOW_TRACKING_URI", LOCAL_STORE)
    create_link_artifact(uri, link_text=uri, key="mlflow", description="The tracking store")
