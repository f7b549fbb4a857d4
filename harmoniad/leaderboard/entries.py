"""What a leaderboard consists of: every detector on every data set with every seed, each measured once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.data.manifest import as_table, fingerprint, fingerprint_of_test_images, usable
from harmoniad.data.sets import DATA_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.features.encoders import EncoderSpec, choose_device
from harmoniad.files import sha256_json
from harmoniad.models.designs import DETECTORS
from harmoniad.params import Params
from harmoniad.source_code import code_of, code_of_detector
from harmoniad.stages.prepare import measured_rows

if TYPE_CHECKING:
    import pandas as pd

KEPT = Path(".harmoniad/leaderboard")
MEASURING_CODE = ("leaderboard/measure.py", "evaluation.py", "metrics", "scoring.py", "stages/train.py")
DECIDING = {"views", "train", "evaluate", "seed"}
"""Sections of the params that decide an entry's figures, besides the detector's own and the encoder."""


@dataclass(frozen=True)
class DataSet:
    """A data set that detectors are compared on."""

    name: str
    manifest: "pd.DataFrame"

    @cached_property
    def fingerprint(self) -> str:
        """Of its images."""
        return fingerprint(self.manifest)

    @cached_property
    def test_fingerprint(self) -> str:
        """Of its test images."""
        return fingerprint_of_test_images(self.manifest)


@dataclass(frozen=True)
class Entry:
    """One detector on one data set with one seed."""

    data_set: DataSet
    params: Params

    @property
    def detector(self) -> str:
        """Its name."""
        return self.params.detector.name

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.data_set.name}, {self.detector}, seed {self.params.seed}"

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the figures; what it names is never measured twice."""
        deciding: dict[str, Any] = self.params.model_dump(mode="json", include=DECIDING)
        deciding["train"] = {
            key: value for key, value in deciding["train"].items() if key not in ("checkpoint_seconds", "warm_start")
        }
        deciding["evaluate"] = {
            key: value for key, value in deciding["evaluate"].items() if key not in ("heatmaps", "report_images")
        }
        content = {
            "params": deciding,
            "design": getattr(self.params.detector, self.detector).model_dump(mode="json"),
            "detector": self.detector,
            "data": self.data_set.fingerprint,
            "encoder": EncoderSpec.from_params(self.params.encoder).key,
            "device": choose_device(self.params.device).type,
            "code": code_of(*MEASURING_CODE, *code_of_detector(self.detector)),
        }
        return sha256_json(content)[:24]

    @property
    def file(self) -> Path:
        """Where its figures are kept."""
        return KEPT / f"{self.key}.json"


def read_data_set(name: str, params: Params) -> DataSet:
    """Measure and split the images of `data/NAME` as the stage `prepare` does.

    Raises:
        HarmoniadError: It is missing, has no known layout, or holds no image.
    """
    root = DATA_DIR / name
    if not root.is_dir():
        raise HarmoniadError(
            f"{root.as_posix()}: no such data set. `harmoniad data add` brings one in; `harmoniad sample` makes "
            "`sample`, and `harmoniad sample --logical` makes `logical`."
        )
    return DataSet(name, usable(as_table(measured_rows(root, name, params.prepare))))


def entries_of(
    data_sets: Sequence[DataSet], detectors: Sequence[str], seeds: Sequence[int], params: Params
) -> list[Entry]:
    """Every detector with every seed on every data set; the first seed of all comes first.

    Raises:
        HarmoniadError: A detector is unknown.
    """
    for name in detectors:
        if name not in DETECTORS:
            raise HarmoniadError(f"--detectors: no detector `{name}`. Known: {', '.join(DETECTORS)}.")
    entries = []
    for seed in seeds:
        for data_set in data_sets:
            for name in detectors:
                chosen = params.detector.model_copy(update={"name": name})
                entries.append(Entry(data_set, params.model_copy(update={"seed": seed, "detector": chosen})))
    return entries
