"""Where the seconds of a retraining go, from what each of its processes noted of itself."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STAGES = ("ingest", "drift", "version", "prepare", "validate", "encode", "train", "evaluate", "register")


@dataclass(frozen=True)
class Seconds:
    """Seconds of a run.

    Attributes:
        wall: Of the whole run, as a clock on the wall has it.
        cpu: Of the processor, user and system, of all its processes.
        stages: Wall time of each stage's own process; of killed ones nothing is known.
        dvc: Wall time of DVC's processes for the stages, without the stages.
        flow: The rest: Prefect's engine and the flow.
    """

    wall: float
    cpu: float
    stages: dict[str, float] = field(default_factory=dict)
    dvc: float = 0.0
    flow: float = 0.0

    @property
    def orchestration(self) -> float:
        """What is not a stage's own."""
        return self.dvc + self.flow

    def as_json(self) -> dict[str, Any]:
        """For the state of a play."""
        return asdict(self)


def total(runs: Sequence[Seconds]) -> Seconds:
    """The sum of several runs."""
    stages: dict[str, float] = {}
    for run in runs:
        for stage, seconds in run.stages.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return Seconds(
        *(sum(getattr(run, name) for run in runs) for name in ("wall", "cpu")),
        stages,
        sum(run.dvc for run in runs),
        sum(run.flow for run in runs),
    )


def read_clock(file: Path, start: float, wall: float, cpu: float) -> Seconds:
    """Sum up the processes that have noted themselves since `start`; see `clock/sitecustomize.py`."""
    if not file.is_file():
        return Seconds(wall, cpu, flow=wall)
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    records = [record for record in records if record["start"] >= start - 0.5]
    stages: dict[str, float] = {}
    of_tasks = in_dvc = 0.0
    for record in records:
        took, stage = record["end"] - record["start"], stage_of(record["command"])
        if stage:
            stages[stage] = stages.get(stage, 0.0) + took
        if "repro" in record["command"]:
            in_dvc += took
            of_tasks += took
        elif stage in ("ingest", "drift", "version"):
            of_tasks += took
    dvc = max(0.0, in_dvc - sum(took for stage, took in stages.items() if stage not in ("ingest", "drift", "version")))
    return Seconds(wall, cpu, stages, dvc, wall - of_tasks)


def stage_of(command: Sequence[str]) -> str:
    """Which stage's own process a command is: `… harmoniad encode`."""
    for program, first in itertools.pairwise(command):
        if Path(program).name == "harmoniad":
            return first if first in STAGES else ""
    return ""
