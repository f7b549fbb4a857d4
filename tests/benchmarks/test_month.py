import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import day_cost, month
from benchmarks.plant import checks, story
from benchmarks.plant.images import Camera, Ledger
from benchmarks.plant.project import Project
from benchmarks.plant.record import Record
from benchmarks.plant.timing import Seconds, read_clock, stage_of


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.xdist_group("month")
@pytest.mark.timeout(900)
def test_two_days_in_a_plant(tmp_path: Path) -> None:
    out = tmp_path / "with space ü"
    month.main(["--short", "--out", str(out)])  # which fails if one of its checks does
    with (out / "month.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert [first["gate"], second["gate"]] == ["promoted", "kept"]
    assert second["version"] == "2"
    assert first["quar."] == "2"
    assert "new category brick" in second["what happens"]
    assert "kill -9 in encode" in second["what happens"]
    assert second["reasons"]
    report = (out / "month.md").read_text(encoding="utf-8")
    assert "ok: no image lost or taken twice" in report
    assert report.count("is reproducible") == 1
    assert (out / "month.png").stat().st_size > 10_000


def test_a_lost_image_and_one_that_was_taken_twice_are_found(tmp_path: Path) -> None:
    ledger = Ledger()
    camera = Camera(tmp_path / "project", ledger, seed=0, size=64)
    paths = camera.good("label", 3, "day 01")
    project = Project(tmp_path / "project")
    check = checks.no_image_lost_or_taken_twice(project, ledger)
    assert (check.passed, check.found) == (True, "3 files came: 3 in inbox; 0 lost, 0 too many")
    quarantine = tmp_path / "project/data/quarantine"
    quarantine.mkdir()
    (quarantine / "a.png").write_bytes(paths[0].read_bytes())
    paths[1].unlink()
    check = checks.no_image_lost_or_taken_twice(project, ledger)
    assert not check.passed
    assert check.found == "3 files came: 2 in inbox, 1 in quarantine; 1 lost, 1 too many"
    assert not checks.quarantine_is_explained(project).passed
    (quarantine / "a.png.reason.json").write_text("{}")
    assert checks.quarantine_is_explained(project).passed


def test_a_half_written_file_is_completed(tmp_path: Path) -> None:
    for renames in (False, True):
        ledger = Ledger()
        camera = Camera(tmp_path / str(renames), ledger, seed=0, size=64)
        camera.half("label", "day 01", renames=renames)
        project = Project(tmp_path / str(renames))
        assert checks.no_image_lost_or_taken_twice(project, ledger).passed
        Camera(tmp_path / str(renames), ledger, seed=0, size=64, light=0.5).complete()
        assert checks.no_image_lost_or_taken_twice(project, ledger).passed
        (whole,) = (tmp_path / str(renames)).rglob("*.*")
        (other,) = Camera(tmp_path / f"{renames} whole", Ledger(), seed=0, size=64).good("label", 1, "day 01")
        assert (whole.name, whole.read_bytes()) == (other.name, other.read_bytes())


def test_a_champion_that_fell_is_found(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "params.yaml").write_text("gate: {mean_tolerance: 0.01}\n")
    records = [Record(1, []), Record(2, [], before=0.9, after=0.89), Record(3, [], before=0.9, after=0.95)]
    assert checks.champion_never_got_worse(project, records).passed
    records.append(Record(4, [], before=0.9, after=0.88))
    check = checks.champion_never_got_worse(project, records)
    assert not check.passed
    assert check.found == "largest fall 0.0200 in a day, of 0.01 allowed; 3 days"


def test_what_did_not_happen_is_found() -> None:
    plot = story.month()
    records = [Record(day.number, []) for day in plot.days]
    assert not checks.troubles_happened(records, plot)[0].passed
    assert not checks.mislabelled_batch_refused(records, plot)[0].passed
    assert not checks.ageing_lamp_noticed(records, plot)[0].passed
    assert not checks.corrupt_files_are_in_quarantine(records, plot).passed


def test_the_month_has_what_it_must() -> None:
    days = story.month().days
    assert len(days) == 30
    stages = {"ingest", "drift", "version", "prepare", "validate", "encode", "train", "evaluate", "register", "results"}
    assert {stage for day in days for stage in day.kills} == stages
    assert [day.number for day in days if day.new_category] == [18]
    assert [day.number for day in days if day.mislabelled] == [21]
    assert min(day.number for day in days if day.light < 1) == 12
    assert Counter(day.full_disk + 2 * day.no_mlflow for day in days) == {0: 28, 1: 1, 2: 1}


def test_a_process_notes_its_time(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    ran = project.run("python", "-c", "sum(range(3_000_000))")
    assert 0 < ran.seconds.cpu_of["flow"] <= ran.seconds.cpu + 0.1
    assert ran.seconds.flow == ran.seconds.wall


def test_seconds_are_those_of_the_stage_of_dvc_or_of_the_flow(tmp_path: Path) -> None:
    def record(command: str, start: float, end: float, cpu: float) -> str:
        return json.dumps({"command": command.split(), "start": start, "end": end, "cpu": cpu})

    lines = [
        record("python -m harmoniad ingest", 0, 9, 9),  # of a run before
        record("python -m harmoniad version", 10, 16, 1),
        record("python -m dvc add data/plant", 11, 14, 2),
        record("python /bin/harmoniad encode", 21, 26, 4),
        record("python -m dvc repro --single-item encode", 20, 28, 2),
        record("python -m harmoniad version --results", 28.5, 29, 1),
        record("python -m dvc push --quiet --remote plant", 28.6, 28.9, 0.5),
        record("python /bin/harmoniad retrain", 10, 30, 3),
    ]
    (tmp_path / "clock").write_text("\n".join(lines))
    found = read_clock(tmp_path / "clock", 10, 20, 13.5)
    assert found == Seconds(
        20,
        13.5,
        {"version": 6, "encode": 5, "results": 0.5},
        3,
        5.5,
        {"version": 3, "encode": 4, "results": 1.5, "dvc": 2, "flow": 3},
    )
    text = day_cost.table([day_cost.Day(200, 8, 16, 0.8, found, 1.0)])
    assert text.splitlines()[2].startswith("| 200 | 8 | 16 | 0.8 | wall |")
    assert text.splitlines()[2].endswith("| 0.5 | 3.0 | 5.5 | 20.0 | 15.0 |")
    assert text.splitlines()[3].endswith("| 1.5 | 2.0 | 4.0 | 14.5 | 10.5 |")


def test_the_stage_of_a_command() -> None:
    assert stage_of(["python", "-m", "harmoniad", "drift"]) == "drift"
    assert stage_of(["python", "/some where/bin/harmoniad", "prepare", "plant"]) == "prepare"
    assert stage_of(["python", "-m", "dvc", "repro", "--single-item", "prepare"]) == ""
    assert stage_of(["/bin/sh", "-c", 'harmoniad prepare "plant"']) == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_largest_file_is_limited_where_no_disk_can_be_mounted(tmp_path: Path) -> None:
    clock = Path(month.__file__).parent / "plant/clock"
    code = "open('large', 'wb').write(bytes(200_000))"
    environment = {**os.environ, "PYTHONPATH": str(clock), "PLANT_LARGEST_FILE": "1000"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert "File too large" in done.stderr
