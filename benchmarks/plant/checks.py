"""What must be true at the end of a play."""

import contextlib
import csv
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.plant.images import INBOX, QUARANTINE, REASON, SET, Ledger, present
from benchmarks.plant.project import Project
from benchmarks.plant.quality import versions_of
from benchmarks.plant.record import Record
from benchmarks.plant.story import Story
from harmoniad.params import load_params

METRICS = "results/evaluate/metrics.json"


@dataclass(frozen=True)
class Check:
    """One thing that must be true, and what was found."""

    name: str
    passed: bool
    found: str


def check_everything(
    project: Project, records: Sequence[Record], ledger: Ledger, story: Story, seed: int
) -> list[Check]:
    """Check the whole play."""
    return [
        no_image_lost_or_taken_twice(project, ledger),
        every_image_in_the_manifest_once(project),
        quarantine_is_explained(project),
        corrupt_files_are_in_quarantine(records, story),
        refusals_are_explained(project),
        champion_never_got_worse(project, records),
        *mislabelled_batch_refused(records, story),
        *ageing_lamp_noticed(records, story),
        *troubles_happened(records, story),
        *reproducible(project, records, story.reproduced, seed),
    ]


def no_image_lost_or_taken_twice(project: Project, ledger: Ledger) -> Check:
    """Every file that came lies in exactly one place, as often as it came."""
    found = present(project.folder)
    count = Counter({sha256: len(paths) for sha256, paths in found.items()})
    lost, twice = ledger.files - count, count - ledger.files
    places: Counter[str] = Counter()
    for paths in found.values():
        for path in paths:
            relative = path.relative_to(project.folder)
            places[
                "quarantine"
                if relative.is_relative_to(QUARANTINE)
                else "inbox"
                if relative.is_relative_to(INBOX)
                else "data set"
            ] += 1
    text = f"{ledger.files.total()} files came: " + ", ".join(f"{n} in {place}" for place, n in sorted(places.items()))
    return Check(
        "no image lost or taken twice", not lost and not twice, f"{text}; {lost.total()} lost, {twice.total()} too many"
    )


def every_image_in_the_manifest_once(project: Project) -> Check:
    """Training, held-out and test images together are the data set's images, each once."""
    with (project.folder / f"results/prepare/{SET}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    root = project.folder / "data" / SET
    there = {path.relative_to(project.folder).as_posix() for path in root.rglob("*.png")}
    images = {path for path in there if "/ground_truth/" not in path}
    listed = [row["path"] for row in rows]
    splits = Counter(row["split"] for row in rows)
    passed = len(set(listed)) == len(listed) and set(listed) == images and set(splits) <= {"train", "held_out", "test"}
    text = ", ".join(f"{count} {name}" for name, count in sorted(splits.items()))
    return Check("each image is a training, held-out or test image", passed, f"{text} of {len(images)}")


def quarantine_is_explained(project: Project) -> Check:
    """Each image in quarantine has a file that says why."""
    root = project.folder / QUARANTINE
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.endswith(REASON)]
    without = [path.name for path in files if not path.with_name(path.name + REASON).is_file()]
    without = [name for name in without if not name.endswith("_mask.png")]
    return Check(
        "each refused image has its reason", not without, f"{len(files)} in quarantine, {len(without)} without"
    )


def corrupt_files_are_in_quarantine(records: Sequence[Record], story: Story) -> Check:
    """On each day at least the corrupt files and the duplicates were refused."""
    expected = {day.number: day.corrupt + day.duplicate for day in story.days}
    short = [record.day for record in records if record.quarantined < expected[record.day]]
    refused = sum(record.quarantined for record in records)
    text = f"{sum(expected.values())} corrupt or twice, {refused} refused"
    return Check("corrupt files and duplicates are in quarantine", not short, text)


def refusals_are_explained(project: Project) -> Check:
    """Each version has a decision, and each that was not promoted has reasons."""
    tags = [version.tags for version in versions_of(project)]
    without = [of for of in tags if not of.get("gate_decision") or not of.get("gate_reasons")]
    kept = sum(of.get("gate_decision") == "kept" for of in tags)
    return Check(
        "every refusal explained", not without, f"{len(tags)} versions, {kept} refused, {len(without)} without reasons"
    )


def champion_never_got_worse(project: Project, records: Sequence[Record]) -> Check:
    """The champion of each evening is no worse than that of the morning, on the test images of the evening."""
    with contextlib.chdir(project.folder):
        tolerance = load_params().gate.mean_tolerance
    drops = {r.day: r.before - r.after for r in records if r.before is not None and r.after is not None}
    worst = max(drops.values(), default=0.0)
    text = f"largest fall {max(worst, 0.0):.4f} in a day, of {tolerance:g} allowed; {len(drops)} days"
    return Check("the champion never got worse by more than the tolerance", worst <= tolerance + 1e-9, text)


def mislabelled_batch_refused(records: Sequence[Record], story: Story) -> list[Check]:
    """The model of the day with defects labelled good is not promoted."""
    days = {day.number for day in story.days if day.mislabelled}
    return [
        Check(
            "the mislabelled batch is refused by the gate",
            record.gate == "kept" and bool(record.reasons) and record.mislabelled > 0,
            f"day {record.day}, {record.mislabelled} of them trained on: {record.gate or 'no model'}: "
            + "; ".join(record.reasons),
        )
        for record in records
        if record.day in days
    ]


def ageing_lamp_noticed(records: Sequence[Record], story: Story) -> list[Check]:
    """Drift finds that it has become darker, some time after the lamp began to age."""
    first = next((day.number for day in story.days if day.light < 1), None)
    if first is None or len(records) < first + 8:
        return []
    days = [r.day for r in records if r.day >= first and any("brightness" in reason for reason in r.reasons_of_drift)]
    text = f"brightness found to differ on days {', '.join(map(str, days))}"
    return [Check("the ageing lamp is noticed", bool(days), text if days else "never")]


def troubles_happened(records: Sequence[Record], story: Story) -> list[Check]:
    """Every kill, the full disk and the missing MLflow took place and were survived."""
    expected = sum(len(day.kills) + day.full_disk + day.no_mlflow for day in story.days)
    if not expected:
        return []
    happened = [text for record in records for text in record.troubles]
    text = f"{len(happened)} of {expected}; after each the retraining was started again and went through"
    return [Check("kills, full disk and missing MLflow are survived", len(happened) == expected, text)]


def reproducible(project: Project, records: Sequence[Record], count: int, seed: int) -> list[Check]:
    """Random days, made again in a clone that has nothing but git and the DVC remote, give the same metrics."""
    days = [record for record in records if record.version is not None]
    chosen = sorted(random.Random(seed).sample(days, min(count, len(days))), key=lambda record: record.day)
    checks = []
    for record in chosen:
        clone = Project(project.folder.with_name("clone"))
        shutil.rmtree(clone.folder, ignore_errors=True)
        project.git("clone", "--quiet", str(project.folder), str(clone.folder))
        clone.git("checkout", "--quiet", record.commit)
        before = (clone.folder / METRICS).read_bytes()
        (clone.folder / METRICS).unlink()
        clone.run("dvc", "pull", "--quiet", f"data/{SET}.dvc")
        ran = clone.run("dvc", "repro", "evaluate")
        is_made = all(f"Running stage '{stage}'" in ran.output for stage in ("encode", "train", "evaluate"))
        is_same = (clone.folder / METRICS).read_bytes() == before
        text = f"{record.commit[:8]}: {'the same bytes' if is_same else 'other metrics'}, {ran.seconds.wall:.0f} s"
        checks.append(Check(f"day {record.day} is reproducible", is_same and is_made, text))
        shutil.rmtree(clone.folder)
    return checks
