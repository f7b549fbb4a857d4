"""Where the seconds of a retraining go, from what each of its processes noted of itself."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STAGES = (
    *("ingest", "drift", "version", "prepare", "validate", "encode"),
    *("start", "train", "evaluate", "register", "results"),
)


_BY_FLOW = ("ingest", "drift", "version", "results")  # the flow runs these itself, and DVC the others


@dataclass(frozen=True)
class Seconds:
    """Seconds of a run.

    Attributes:
        wall: Of the whole run, as a clock on the wall has it.
        cpu: Of the processor, user and system, of all its processes.
        stages: Wall time of each stage's own process; of killed ones nothing is known.
        dvc: Wall time of `dvc repro`, without the stages.
        flow: The rest: Prefect's engine and the flow.
        cpu_of: Processor time of the stages, and of `dvc` and `flow`.
    """

    wall: float
    cpu: float
    stages: dict[str, float] = field(default_factory=dict)
    dvc: float = 0.0
    flow: float = 0.0
    cpu_of: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the state of a play."""
        return asdict(self)


def total(runs: Sequence[Seconds]) -> Seconds:
    """The sum of several runs."""
    wall, cpu, dvc, flow = (sum(getattr(run, name) for run in runs) for name in ("wall", "cpu", "dvc", "flow"))
    return Seconds(wall, cpu, _sum(run.stages for run in runs), dvc, flow, _sum(run.cpu_of for run in runs))


def _sum(tables: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found: Counter[str] = Counter()
    for table in tables:
        found.update(table)
    return dict(found)


def read_clock(file: Path, start: float, wall: float, cpu: float) -> Seconds:
    """Sum up the processes that have noted themselves since `start`; see `clock/sitecustomize.py`."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    stages: Counter[str] = Counter()
    cpu_of: Counter[str] = Counter()
    repro = 0.0
    for record in map(json.loads, lines):
        if record["start"] < start:
            continue
        command, took = record["command"], record["end"] - record["start"]
        stage = stage_of(command)
        stages[stage] += took
        repro += took * ("repro" in command)
        cpu_of["dvc" if "repro" in command else stage or _by_version(command) or "flow"] += record["cpu"]
    del stages[""]
    by_flow = sum(stages[stage] for stage in _BY_FLOW)
    by_dvc = stages.total() - by_flow
    return Seconds(wall, cpu, dict(stages), max(0.0, repro - by_dvc), wall - by_flow - repro, dict(cpu_of))


def _by_version(command: Sequence[str]) -> str:
    """Which stage calls a command of DVC: `version` names what it adds, compares and pushes, `results` pushes all."""
    if "push" in command:
        return "version" if command[-1].endswith(".dvc") else "results"
    return "version" if {"add", "diff"} & set(command) else ""


def stage_of(command: Sequence[str]) -> str:
    """Which stage's own process a command is: `… harmoniad encode`."""
    for program, first in itertools.pairwise(command):
        if Path(program).name == "harmoniad":
            stage = "results" if command[-1] == "--results" else first
            return stage if stage in STAGES else ""
    return ""
