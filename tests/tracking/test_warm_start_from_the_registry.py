"""The stage `start` with a real registry: what the champion is, a training can begin with."""

import shutil
from pathlib import Path

import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json
from harmoniad.params import Params
from harmoniad.stages import start
from harmoniad.tracking import store
from harmoniad.tracking.registry import register
from harmoniad.tracking.results import read_results

WARM = Params.model_validate({"train": {"warm_start": True}})
TENSORS = Path("results/train/model/detector.safetensors")


def test_the_champion_s_weights_are_kept_in_the_project(project) -> None:
    assert start.run(WARM) == "start: from scratch: there is no champion yet"
    register(project.params, read_results())
    first = TENSORS.read_bytes()
    project.train(weight=2.0, data="data-2")
    project.change_params(seed=2)
    register(project.params, read_results())
    with store.connect() as client:
        client.set_registered_model_alias("harmoniad", "champion", "1")

    assert start.run(WARM) == "start: from harmoniad version 1, the champion"
    assert (start.START_DIR / "detector.safetensors").read_bytes() == first != TENSORS.read_bytes()
    assert read_json(start.START_DIR / "model.json")["detector"]["name"] == "patchcore"
    start.check()

    assert start.run(Params()) == "start: from scratch"
    assert not (start.START_DIR / "detector.safetensors").exists()


def test_a_training_that_wants_it_says_what_to_run(project) -> None:
    shutil.rmtree(start.START_DIR, ignore_errors=True)
    with pytest.raises(HarmoniadError, match="Run `harmoniad start`"):
        start.check()
