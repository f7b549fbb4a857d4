"""A tree of each layout through the stages, as `dvc repro` runs them."""

from pathlib import Path

import pytest

from harmoniad.files import read_json
from harmoniad.params import Params
from harmoniad.stages import encode, evaluate, prepare, train
from tests.data import trees


def test_a_tree_of_each_layout_is_trained_on_and_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "with space ü"
    for name, (_, grow) in trees.TREES.items():
        grow(home / "data" / name)
    monkeypatch.chdir(home)
    params = Params.model_validate(
        {
            "data": {"sets": list(trees.TREES)},
            "device": "cpu",
            "prepare": {"held_out": 0.3, "folder_test": 0.3},
            "encoder": {"resolution": 64},
            "detector": {"name": "patchcore", "patchcore": {"max_patches": 2000}},
            "views": {"synthetic": 0},
            "evaluate": {"heatmaps": 1},
        }
    )
    for name in trees.TREES:
        prepare.run(params, name)
    encode.run(params)
    train.run(params)
    evaluate.run(params)

    categories = read_json(Path("results/evaluate/metrics.json"))["categories"]
    for category, figures in categories.items():
        assert figures["image_auroc"] == 1, category  # a white square on grey noise
        assert figures["aupro"] > 0.5, category
        assert ("spro" in figures) == (category == "pushpins")
    pins = categories["pushpins"]
    assert pins["spro"] == pytest.approx((pins["spro_structural"] + pins["spro_logical"]) / 2)
    assert 0 < pins["spro"] <= 1
