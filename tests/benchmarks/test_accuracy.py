"""The accuracy benchmark from the command line, on a sample that takes seconds."""

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import accuracy, common
from harmoniad.data.sample import generate
from harmoniad.errors import HarmoniadError

REPOSITORY = Path(__file__).parents[2]
PARAMS = """
encoder: {resolution: 64}
detector: {patchcore: {max_patches: 500}}
"""
CONFIG = """
seeds: [0, 1]
encoders: {lite0: {}}
detectors: {patchcore: {detector: {name: patchcore}}}
"""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("with space ü")
    generate(folder / "parts", train=8, good=3, defect=4, size=64, categories=["brick", "label"])
    (folder / "params.yaml").write_text(PARAMS, encoding="utf-8")
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    places = {
        "data": "parts",
        "params": "params.yaml",
        "config": "config.yaml",
        "cache": "cache",
        "cells": "cells",
        "out": "out",
    }
    return [part for name, place in places.items() for part in (f"--{name}", str(folder / place))]


def test_a_killed_run_goes_on_and_a_second_one_computes_nothing(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(arguments[1]).parent
    first = _kill_after_the_first_cell(arguments, folder / "cells")
    assert not (folder / "out").exists()
    written = first.stat().st_mtime_ns

    accuracy.main(arguments)
    assert "1 cells were there, 1 computed" in capfd.readouterr().err
    assert first.stat().st_mtime_ns == written
    text = (folder / "out" / "accuracy.md").read_text(encoding="utf-8")
    assert "| parts | lite0 | patchcore | 0." in text or "| parts | lite0 | patchcore | 1." in text
    assert "seeds 0, 1" in text and "| parts | brick | lite0 | patchcore |" in text
    assert (folder / "out" / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    _check_csv(pd.read_csv(folder / "out" / "accuracy.csv"), pd.read_csv(folder / "out" / "cells.csv"))

    accuracy.main(arguments)
    assert "2 cells were there, 0 computed" in capfd.readouterr().err
    assert (folder / "out" / "accuracy.md").read_text(encoding="utf-8").splitlines()[1:] == text.splitlines()[1:]


def _kill_after_the_first_cell(arguments: list[str], cells: Path) -> Path:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "accuracy.py"), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8") as process:
        while not (found := list(cells.glob("*.json"))):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        process.kill()
    return found[0]


def _check_csv(summary: pd.DataFrame, cells: pd.DataFrame) -> None:
    assert list(summary["category"]) == ["mean", "brick", "label"]
    assert (summary["seeds"] == 2).all()
    mean = cells[cells["category"] == "mean"]
    assert len(mean) == 2
    assert summary.loc[0, "aupro_mean"] == pytest.approx(mean["aupro"].mean(), rel=1e-4)
    assert summary.loc[0, "aupro_std"] == pytest.approx(mean["aupro"].std(), rel=1e-3, abs=1e-6)
    assert (mean["peak_memory_mb"] > 50).all()
    both, encoder_left_out = mean["end_to_end_images_per_second"], mean["scoring_images_per_second"]
    assert (both < encoder_left_out).all()


def test_a_wrong_detector_name_is_told_before_anything_runs(arguments: list[str]) -> None:
    with pytest.raises(
        HarmoniadError, match=r"config.yaml, lite0, nonsense: `detector.name`: .*'patchcore'.*'nonsense'"
    ):
        accuracy.main([*arguments, "--detectors", "nonsense"])


def test_other_wrong_options_name_themselves(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"config.yaml: no `resnet`. Known: lite0."):
        accuracy.main([*arguments, "--encoders", "resnet"])
    with pytest.raises(HarmoniadError, match=r"--weights lite0: must be ENCODER=FILE"):
        accuracy.main([*arguments, "--weights", "lite0"])
    with pytest.raises(HarmoniadError, match=r"absent.yaml: no such file"):
        accuracy.main([*arguments, "--config", str(tmp_path / "absent.yaml")])
    with pytest.raises(HarmoniadError, match=r"two data sets are called `parts`"):
        accuracy.main([*arguments, "--data", arguments[1]])


def test_a_script_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    def wrong(_: object) -> None:
        raise HarmoniadError("no such thing.")

    with pytest.raises(SystemExit, match="130"):
        common.run_main(interrupted)
    assert capsys.readouterr().err == "interrupted: the same command goes on from here\n"
    with pytest.raises(SystemExit, match=r"^error: no such thing\.$"):
        common.run_main(wrong)
