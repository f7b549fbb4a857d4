from pathlib import Path

import pytest

from benchmarks import training_time
from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import Encoder


def test_table_of_a_few_images(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("detector: {patchcore: {max_patches: 200}}\n", encoding="utf-8")
    options = ["--counts", "3", "--detectors", "patchcore", "--params", str(tmp_path / "params.yaml")]
    training_time.main([*options, "--folder", str(tmp_path), "--out", str(tmp_path / "out")])
    row = (tmp_path / "out" / "training_time.md").read_text(encoding="utf-8").splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:4] == ["patchcore", "3", "0", "–"]
    assert cells[5] == "0"
    assert int(cells[6]) > int(cells[7]) > 50
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("harmoniad-features-")] == []


def test_an_encoder_pass_would_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "__call__", lambda self, images: images)
    passes = training_time._count_encoder_passes()
    encoder = object.__new__(Encoder)
    assert encoder(["an image"]) == ["an image"]
    assert len(passes) == 1


def test_a_wrong_detector_name_is_one_line(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("seed: 0\n", encoding="utf-8")
    with pytest.raises(HarmoniadError, match=r"--detectors nonsense: `detector.name`"):
        training_time.main(["--detectors", "nonsense", "--params", str(params)])
