"""From a measured model to the registry: the DVC stage `register`."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.stages import Limits, reproduce
from harmoniad.files import read_json
from harmoniad.tracking.store import tracking_uri, ui_command

REGISTERED = Path("mlflow/store/registered.json")


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
        "model": registered["name"],
        "version": registered["version"],
        "aliases": ", ".join(registered["aliases"]),
        "decision": registered["decision"],
        "reasons": "; ".join(registered["reasons"]),
    }
    create_table_artifact([row], key="registered-model", description="What was registered and what the gate decided")
    uri = urlsplit(tracking_uri())
    if uri.scheme.startswith("http"):
        address = uri._replace(netloc=uri.netloc.rpartition("@")[2]).geturl()  # without a password
        create_link_artifact(address, link_text="MLflow", key="mlflow")
    else:
        create_markdown_artifact(f"`{ui_command()}` opens the registry's pages.", key="mlflow")
