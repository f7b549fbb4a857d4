"""The registered versions of the model: finding them, and listing them for people."""

import datetime
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmoniad.errors import HarmoniadError
from harmoniad.params import Params
from harmoniad.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER, CHAMPION = "challenger", "champion"


@dataclass(frozen=True)
class VersionRow:
    """One registered version, as `harmoniad models` lists it."""

    version: int
    aliases: list[str]
    created: str
    detector: str
    encoder: str
    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None
    data_fingerprint: str
    decision: str


def list_versions(params: Params) -> list[VersionRow]:
    """All the versions of the registered model, the newest first; none if nothing was registered yet.

    Raises:
        HarmoniadError: The store cannot be used.
    """
    if store.is_local() and not store.DATABASE.is_file():
        return []
    name = params.register_.model_name
    with store.connect() as client:
        aliases = aliases_of_model(client, name)
        return [_row(version, aliases) for version in all_versions(client, name)]


def find(client: "MlflowClient", name: str, wanted: str) -> "ModelVersion":
    """The version that a user names by its number or by an alias (`champion` or `@champion`).

    Raises:
        HarmoniadError: There is no such version.
    """
    found = {int(version.version): version for version in all_versions(client, name)}
    if not found:
        raise HarmoniadError("no model is registered yet: run `dvc repro`.")
    aliases = aliases_of_model(client, name)
    alias = wanted.removeprefix("@")
    chosen = int(wanted) if re.fullmatch(r"[0-9]{1,9}", wanted) else aliases.get(alias)
    if chosen not in found:
        there = ", ".join(str(each) for each in sorted(found)[-20:])
        named = "".join(f", @{alias}" for alias in sorted(aliases))
        raise HarmoniadError(f"{name} has no version {wanted}. There are {there}{named}: see `harmoniad models`.")
    return found[chosen]


def all_versions(client: "MlflowClient", name: str) -> list["ModelVersion"]:
    """All versions, the newest first."""
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version), reverse=True)


def aliases_of_model(client: "MlflowClient", name: str) -> dict[str, int]:
    """Which version each alias points at."""
    for model in client.search_registered_models(f"name = '{name}'"):
        return {alias: int(version) for alias, version in model.aliases.items()}
    return {}


def aliases_of_version(aliases: dict[str, int], version: int) -> list[str]:
    """The aliases that point at a version."""
    return sorted(alias for alias, target in aliases.items() if target == version)


def number(text: str | None) -> float | None:
    """A figure that stands in a tag."""
    return float(text) if text else None


def _row(version: "ModelVersion", aliases: dict[str, int]) -> VersionRow:
    tags = version.tags
    return VersionRow(
        version=int(version.version),
        aliases=aliases_of_version(aliases, int(version.version)),
        created=f"{datetime.datetime.fromtimestamp(version.creation_timestamp / 1000):%Y-%m-%d %H:%M}",
        detector=tags.get("detector", ""),
        encoder=tags.get("encoder", ""),
        image_auroc=number(tags.get("image_auroc")),
        pixel_auroc=number(tags.get("pixel_auroc")),
        aupro=number(tags.get("aupro")),
        data_fingerprint=tags.get("data_fingerprint", ""),
        decision=tags.get("gate_decision", ""),
    )
