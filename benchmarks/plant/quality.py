"""How good the champion is on the test images of the day."""

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.plant.project import Project

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from harmoniad.params import Params


def versions_of(project: Project) -> "list[ModelVersion]":
    """All registered versions, the oldest first."""
    from harmoniad.params import load_params
    from harmoniad.tracking import store
    from harmoniad.tracking.versions import all_versions

    with contextlib.chdir(project.folder), store.connect() as client:
        return all_versions(client, load_params().register_.model_name)[::-1]


def champion_of(project: Project) -> int | None:
    """The version in production."""
    from harmoniad.params import load_params
    from harmoniad.tracking import store
    from harmoniad.tracking.versions import CHAMPION, aliases_of_model

    with contextlib.chdir(project.folder), store.connect() as client:
        return aliases_of_model(client, load_params().register_.model_name).get(CHAMPION)


def compare(project: Project, before: int | None, after: int | None) -> tuple[float | None, float | None, float | None]:
    """Mean image AUROC of two champions on the current test images.

    Returns:
        Of the first and of the second over the categories that both know, and of the second over all that it knows.
    """
    from harmoniad.params import load_params

    if after is None:
        return None, None, None
    with contextlib.chdir(project.folder):
        params = load_params()
        areas = {number: _areas(params, number) for number in {before, after} - {None}}
    shared = [name for name in areas[after] if before is not None and name in areas[before]]
    first = None if before is None else _mean([areas[before][name] for name in shared])
    return first, _mean([areas[after][name] for name in shared]), _mean(list(areas[after].values()))


def _areas(params: "Params", number: int) -> dict[str, float]:
    """Image AUROC of a version by category, where there are good and defective test images."""
    from harmoniad.metrics import auroc
    from harmoniad.tracking import scorecard, store
    from harmoniad.tracking.judgement import card_of

    with store.connect() as client:
        version = client.get_model_version(params.register_.model_name, str(number))
        table = card_of(version, scorecard.current_images(params), params).table
    test = table[table["split"] == "test"]
    areas = {
        str(name): auroc((rows["label"] == "defect").to_numpy(), rows["score"].to_numpy(np.float64))
        for name, rows in test.groupby("category")
    }
    return {name: area for name, area in areas.items() if area is not None}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
