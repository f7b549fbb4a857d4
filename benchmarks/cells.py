"""Cells: one detector trained and measured on one data set with one encoder and one seed, each in a process of its own.

A finished cell is a JSON file named by a hash of everything that decides it, so it is never computed twice.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.common import BENCHMARKS, Overrides, environment_of_child, params_of
from benchmarks.datasets import DataSet, hold_out, part_of
from harmoniad.data.manifest import fingerprint
from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import EncoderSpec, choose_device
from harmoniad.files import read_json, sha256_file, sha256_json, write_json
from harmoniad.params import Params
from harmoniad.progress import Progress
from harmoniad.source_code import code_of, code_of_detector

# What decides no figure: where things lie, what other stages do, and what the manifest or the encoder's key stands for.
_NOT_DECIDING = {"data", "sample", "prepare", "validate", "encoder", "encode", "register", "device"}
_MEASURING_CODE = ("metrics", "scoring.py", "evaluation.py", "leaderboard/measure.py", "stages/train.py")
CHILD = BENCHMARKS / "child.py"


@dataclass(frozen=True)
class Cell:
    """What is to be trained and measured.

    Attributes:
        data_set: Its images.
        part: Which of the test images count; see `datasets.part_of`.
        encoder: How the tables call it.
        detector: How the tables call it.
        params: Everything else, the seed among it.
    """

    data_set: DataSet
    part: str
    encoder: str
    detector: str
    params: Params

    @cached_property
    def manifest(self) -> Any:
        """The images that take part, with the seed's own choice of held-out ones."""
        chosen = part_of(self.data_set.manifest, self.part)
        return hold_out(chosen, self.params.seed, self.params.prepare.held_out)

    @cached_property
    def spec(self) -> EncoderSpec:
        """The encoder."""
        return EncoderSpec.from_params(self.params.encoder)

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.data_set.name}, {self.encoder}, {self.detector}, seed {self.params.seed}"

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the figures."""
        content = self.params.model_dump(mode="json", by_alias=True, exclude=_NOT_DECIDING)
        name = content["detector"]["name"]
        content["detector"] = {key: value for key, value in content["detector"].items() if key in ("name", name)}
        content["train"].pop("checkpoint_seconds", None)
        content["evaluate"].pop("heatmaps", None)
        content |= {
            "data": fingerprint(self.manifest),
            "encoder": self.spec.key,
            "device": choose_device(self.params.device).type,
            "code": code_of(*_MEASURING_CODE, *code_of_detector(name)) + sha256_file(CHILD),
        }
        return sha256_json(content)[:24]

    @cached_property
    def speed_key(self) -> str:
        """Hash of everything that decides how fast the encoder is, besides the machine."""
        content = {
            "data": fingerprint(self.data_set.manifest),
            "encoder": self.spec.key,
            "device": choose_device(self.params.device).type,
            "code": code_of("features") + sha256_file(CHILD),
        }
        return f"encoder-{sha256_json(content)[:24]}"

    @cached_property
    def encode_key(self) -> str:
        """The same for two cells that need the same features."""
        others = self.params.model_dump(
            mode="json", by_alias=True, exclude=_NOT_DECIDING | {"detector", "train", "evaluate"}
        )
        return sha256_json([fingerprint(self.manifest), self.spec.key, others])


def cells_of(
    data_sets: Sequence[DataSet],
    encoders: Mapping[str, Overrides],
    detectors: Mapping[str, Overrides],
    seeds: Sequence[int],
    *,
    base: Overrides,
    part: str,
    source: Path,
) -> list[Cell]:
    """Every data set with every encoder, detector and seed.

    Of the params, a detector's overrides go before an encoder's, which go before `base`. Generated data sets are never
    cut into parts: none of their images is behind a figure that is shown.

    Raises:
        HarmoniadError: An override is wrong or the weights of an encoder are missing.
    """
    cells = []
    for data_set in data_sets:
        for encoder, of_encoder in encoders.items():
            for detector, of_detector in detectors.items():
                for seed in seeds:
                    where = f"{source}, {encoder}, {detector}"
                    params = params_of(where, base, of_encoder, of_detector, {"seed": seed})
                    cell_part = "all" if data_set.generated else part
                    cells.append(Cell(data_set, cell_part, encoder, detector, params))
    for cell in {cell.spec.key: cell for cell in cells}.values():
        assert cell.key  # computed here, so that missing weights are told before the first cell runs
    return cells


def run_cells(cells: Sequence[Cell], folder: Path) -> list[dict[str, Any]]:
    """Compute the cells that `folder` does not hold yet.

    Returns:
        For each cell, in the same order, what `child.py` measured, with the names of the cell.

    Raises:
        HarmoniadError: A cell failed. Those before it are kept.
    """
    waiting = list({cell.key: cell for cell in cells if not _file(folder, cell.key).is_file()}.values())
    encoded: set[str] = set()
    total = len({cell.key for cell in cells})
    with Progress("benchmark", total, "cells", done=total - len(waiting)) as progress:
        for cell in waiting:
            if cell.encode_key not in encoded:
                _run_child("encode", cell, None)
                encoded.add(cell.encode_key)
            _run_child("measure", cell, _file(folder, cell.key))
            progress.advance(note=cell.label)
    for cell in {cell.speed_key: cell for cell in cells}.values():
        if not _file(folder, cell.speed_key).is_file():
            _run_child("encoder_speed", cell, _file(folder, cell.speed_key))
    print(f"{total - len(waiting)} cells were there, {len(waiting)} computed", file=sys.stderr)
    return [_result(cell, folder) for cell in cells]


def _file(folder: Path, key: str) -> Path:
    return folder / f"{key}.json"


def _result(cell: Cell, folder: Path) -> dict[str, Any]:
    measured = read_json(_file(folder, cell.key))
    encoder = read_json(_file(folder, cell.speed_key))
    both = 1 / (1 / encoder["images_per_second"] + 1 / measured["scoring_images_per_second"])
    return measured | {
        "data": cell.data_set.name,
        "encoder": cell.encoder,
        "detector": cell.detector,
        "seed": cell.params.seed,
        "encoder_images_per_second": encoder["images_per_second"],
        "end_to_end_images_per_second": both,
    }


def _run_child(task: str, cell: Cell, result: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="harmoniad-cell-") as folder:
        manifest, job, answer = (Path(folder) / name for name in ("manifest.csv", "job.json", "answer.json"))
        cell.manifest.to_csv(manifest, index=False)
        params = cell.params.model_dump(mode="json", by_alias=True)
        write_json(job, {"task": task, "manifest": str(manifest), "params": params, "answer": str(answer)})
        command = [sys.executable, str(CHILD), str(job)]
        code = subprocess.run(command, env=environment_of_child(), check=False).returncode
        found: dict[str, Any] = read_json(answer) if answer.is_file() else {}
        if code or "error" in found:
            reason = found.get("error", f"the process ended with code {code}; was the memory used up?")
            raise HarmoniadError(f"{cell.label}: {reason}")
        if result is not None:
            about = {"label": cell.label, "part": cell.part, "params": json.loads(cell.params.model_dump_json())}
            write_json(result, found | {"about": about})
