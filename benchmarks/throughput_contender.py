"""A process that computes when it is asked, so that only one contender does at a time."""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass
class Contender:
    """A process that waits until it is asked.

    Attributes:
        name: As the table says it.
        settings: What it is told at its start.
        script: What it runs, beside this file.
        python: With which Python.
        about: What it says of itself.
        runs: What was measured, for each batch size.
        profile: Seconds of each step, where it knows them.
        peak_mb: Known when it has stopped.
    """

    name: str
    settings: dict[str, Any]
    script: str
    python: Path = Path(sys.executable)
    about: dict[str, Any] = field(default_factory=dict)
    runs: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    profile: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0

    def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.settings["threads"]), "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [str(self.python), "-W", "ignore", str(HERE / self.script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.about = self.ask(self.settings)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name}: the process ended with {self._process.wait()}.")
        return json.loads(answer)

    def run(self, batch: int) -> None:
        self.runs.setdefault(batch, []).append(self.ask({"batch": batch}))

    def stop(self) -> None:
        self.peak_mb = json.loads(self._process.communicate()[0])["peak_mb"]

    def images_per_second(self, batch: int) -> float:
        """Median of the repetitions."""
        count = len(self.settings["images"])
        return statistics.median(count / run["seconds"] for run in self.runs[batch])

    def latency(self, batch: int, share: float) -> float:
        """Milliseconds a batch that this share of all batches did not exceed."""
        seconds = sorted(value for run in self.runs[batch] for value in run["batch_seconds"])
        return 1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))]
