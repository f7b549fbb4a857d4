"""A month in a plant: thirty days of new images, retrainings, and everything that goes wrong.

    python benchmarks/month.py

plays in a project of its own (a copy of the tracked files with git, DVC, a DVC remote and one Prefect server), with
pictures of the sample factory. Each day, images come into the inbox, one of them half written; then `harmoniad
retrain` runs. A new kind of defect, an ageing lamp, corrupt files, a new product, a batch of defects labelled good,
`kill -9` in every stage, a full disk and an MLflow that is not there stand in `benchmarks/plant/story.py`. Where the
comparison stops for a person, the play looks and accepts; the mislabelled batch too, so that the gate must refuse it.
At the end everything is checked; the exit code is 1 if anything is wrong. The same command goes on after the last whole
day.
"""

import argparse
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script is looked for in its own folder only

from benchmarks import common
from benchmarks.plant import tables
from benchmarks.plant.checks import check_everything
from benchmarks.plant.images import QUARANTINE, REASON, SET, Camera, Ledger, kinds_of
from benchmarks.plant.project import Project, Ran, prefect_server
from benchmarks.plant.quality import champion_of, compare
from benchmarks.plant.record import Record
from benchmarks.plant.story import Day, Story, month, short
from benchmarks.plant.timing import total
from benchmarks.plant.trouble import MEGABYTE, NOWHERE, full_disk, kill_in, size_of
from harmoniad.data.sample.shots import Shot
from harmoniad.environment import keep_quiet
from harmoniad.errors import HarmoniadError
from harmoniad.factory.drift import LOOK
from harmoniad.files import read_json, write_json

MOST_RUNS = 4  # of one day, besides those in which something goes wrong
DRIFT, REGISTERED = "results/drift/drift.json", "mlflow/store/registered.json"


class Play:
    """The state of a play, which is kept after each day.

    Args:
        story: What happens.
        out: Where project, state and results go.
        seed: Of the pictures and of all chance.
    """

    def __init__(self, story: Story, out: Path, seed: int, server: str) -> None:
        self.story, self.out, self.seed = story, out, seed
        self.project = Project(out / "project", server)
        self.ledger = Ledger()
        self.records: list[Record] = []
        self.mislabelled: list[Shot] = []
        self.today: Record | None = None
        self.missed: list[str] = []

    def begin(self) -> None:
        """Make the project with its history, or go on after the last day that is whole."""
        if (self.out / "state.json").is_file():
            state = read_json(self.out / "state.json")
            if not state["is_whole"] or state["seed"] != self.seed:
                raise HarmoniadError(f"{self.out}: was interrupted while images came, or has another seed. Delete it.")
            self.ledger = Ledger.load(self.out / "ledger.json")
            self.records = [Record(**record) for record in state["records"]]
            self.missed = state["missed"]
            self.today = Record(**state["today"]) if state["today"] else None
            self.mislabelled = [Shot(**shot) for shot in state["mislabelled"]]
            return
        shutil.rmtree(self.out, ignore_errors=True)
        self.project.folder.mkdir(parents=True)
        self.project.create(self.story.params, self.out / "remote")
        history = self.out / "history"
        for category, (train, good, each) in self.story.history.items():
            kinds = {kind: each for kind in kinds_of(category) if self.story.hidden.get(category) != kind}
            self.camera(1.0).history(history, category, train=train, good=good, kinds=kinds)
        self.project.run("harmoniad", "data", "add", str(history.resolve()), "--layout", "mvtec", "--name", SET)
        self.project.git("add", "--all")
        self.project.git("commit", "--quiet", "--message", "the images that there are")
        shutil.rmtree(history)

    def camera(self, light: float) -> Camera:
        return Camera(self.project.folder, self.ledger, self.seed, self.story.size, light)

    def keep(self, is_whole: bool = True) -> None:
        """Write the state; it is not whole while images come."""
        self.ledger.save(self.out / "ledger.json")
        content = {
            "seed": self.seed,
            "is_whole": is_whole,
            "missed": self.missed,
            "today": asdict(self.today) if self.today else None,
            "records": [asdict(record) for record in self.records],
            "mislabelled": [asdict(shot) for shot in self.mislabelled],
        }
        write_json(self.out / "state.json", content)

    def play(self, day: Day) -> Record:
        """Play one day."""
        rng = random.Random(1000 * self.seed + day.number)
        before = self.records[-1].champion if self.records else None
        size = size_of(self.project.folder)
        if self.today is None:
            self.today = self.morning(day)
        record = self.today
        runs = self.retrain(day, record, rng)
        record.seconds, record.runs = total([ran.seconds for ran in runs]).as_json(), len(runs)
        record.mislabelled = len(self.mislabelled_files())
        record.commit = self.project.git("rev-parse", "HEAD")
        record.grown = size_of(self.project.folder) - size
        record.quarantined = len(list((self.project.folder / QUARANTINE).rglob(f"*{REASON}"))) - sum(
            past.quarantined for past in self.records
        )
        record.champion = champion_of(self.project)
        record.before, record.after, record.quality = compare(self.project, before, record.champion)
        return record

    def morning(self, day: Day) -> Record:
        """Let the day's images come."""
        record = Record(day.number, day.events())
        self.keep(is_whole=False)
        known = {batch.category for past in self.story.days[: day.number - 1] for batch in past.new_category}
        came = self.ledger.files.total()
        self.correct(record)
        self.deliver(day, sorted({*self.story.history, *known}))
        record.images = self.ledger.files.total() - came
        self.today = record
        self.keep()
        return record

    def correct(self, record: Record) -> None:
        """Do what a person does who has seen why the gate refused: the batch comes again under its right name."""
        if not self.mislabelled:
            return
        camera = self.camera(1.0)
        for shot, path in self.mislabelled_files():
            target = camera.relabelled(shot, path.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        record.events.append("the batch is taken out and comes again as defects")
        self.mislabelled = []

    def mislabelled_files(self) -> list[tuple[Shot, Path]]:
        """Those of the defects labelled good that lie in the data set."""
        found = []
        for shot in self.mislabelled:
            train = self.project.folder / "data" / SET / shot.category / "train" / "good"
            found += [(shot, path) for path in train.glob(f"{shot.group}-{shot.index:04d}-*.png")]
        return found

    def deliver(self, day: Day, categories: Sequence[str]) -> None:
        """Let the day's images come."""
        camera = self.camera(day.light)
        camera.complete()
        for category in categories:
            paths = camera.good(category, day.good, day.folder)
            if day.duplicate and category == categories[0]:
                camera.again(paths[0], f"{day.folder} again")
        for batch in (*day.defects, *day.new_category):
            if batch.kind == "good":
                camera.good(batch.category, batch.count, day.folder)
            else:
                camera.defects(batch.category, batch.kind, batch.count)
        if day.shelf:
            camera.shelf(day.new_category[0].category, day.shelf)
        for number in range(day.corrupt):
            camera.corrupt(categories[number % len(categories)], number, day.folder)
        if day.mislabelled:
            batch = day.mislabelled
            self.mislabelled = camera.mislabelled(batch.category, batch.kind, batch.count, day.folder)
        if day.half:
            camera.half(categories[day.number % len(categories)], day.folder, renames=day.number % 2 == 0)

    def retrain(self, day: Day, record: Record, rng: random.Random) -> list[Ran]:
        """Run the retraining until it is through: again after a trouble, and after a person has looked.

        Raises:
            HarmoniadError: It does not get through.
        """
        troubles = [*self.missed, *day.kills, *["full disk"] * day.full_disk, *["no MLflow"] * day.no_mlflow]
        runs = []
        most = MOST_RUNS + len(troubles)
        for _ in range(most):
            drift, registered = self.project.json(DRIFT), self.project.json(REGISTERED)
            trouble = troubles[0] if troubles else ""
            ran, happened = self._run(trouble, rng)
            runs.append(ran)
            self._note(record, drift, registered)
            if happened:
                troubles.pop(0)
                record.troubles.append(f"{trouble}: {ran.said() or f'exit code {ran.code}'}")
                continue
            if ran.code:
                raise HarmoniadError(f"day {day.number}: {ran.said() or ran.output[-2000:]}")
            if self._needs_a_look(drift):
                self.project.run("harmoniad", "drift", "--accept")
                record.drift[-1] += ", accepted"
                continue
            break
        else:
            raise HarmoniadError(f"day {day.number}: not through after {most} retrainings")
        self.missed = troubles  # a stage may end before its kill comes: it is tried again on the next day
        return runs

    def _run(self, trouble: str, rng: random.Random) -> tuple[Ran, bool]:
        """One retraining, with a trouble or none; and whether the trouble happened."""
        if trouble == "full disk":
            room = self.records[-1].grown if self.records else 4 * MEGABYTE
            with full_disk(self.project, round(room * rng.uniform(0.1, 0.6))) as variables:
                ran = self.project.run("harmoniad", "retrain", check=False, **variables)
            return ran, ran.code != 0
        if trouble == "no MLflow":
            ran = self.project.run("harmoniad", "retrain", check=False, MLFLOW_TRACKING_URI=NOWHERE)
            return ran, ran.code != 0
        if trouble:
            past = [took for record in self.records if (took := record.seconds["stages"].get(trouble))]
            return kill_in(self.project, trouble, past[-1] if past else 4.0, rng)
        return self.project.run("harmoniad", "retrain", check=False), False

    def _note(self, record: Record, drift: Any, registered: Any) -> None:
        """Note what a run left that was not there before."""
        now, model = self.project.json(DRIFT), self.project.json(REGISTERED)
        if now and now != drift:
            record.drift.append(now["decision"].partition(":")[0] + (" (not compared)" if now["skipped"] else ""))
            record.reasons_of_drift += now["reasons"]
        if model and (not registered or model["version"] != registered["version"]):
            record.version, record.gate, record.reasons = model["version"], model["decision"], model["reasons"]

    def _needs_a_look(self, drift: Any) -> bool:
        now = self.project.json(DRIFT)
        return bool(now and now != drift and now["decision"] == LOOK and self.project.stops_at_drift)


def main(arguments: Sequence[str] | None = None) -> None:
    """Play, print the table, draw the plot, and check.

    Raises:
        HarmoniadError: The play stopped, or a check at its end found something.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30, help="of the month (default: all 30)")
    parser.add_argument("--short", action="store_true", help="the few days of the test instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/month"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    keep_quiet()
    start = time.time()
    story = short() if options.short else month(options.days)
    out = options.out.resolve()
    with prefect_server(out.with_name(f"{out.name}.prefect")) as server:
        play = Play(story, out, options.seed, server)
        play.begin()
        for day in story.days[len(play.records) :]:
            play.records.append(play.play(day))
            play.today = None
            play.keep()
            print(tables.line(play.records[-1]), flush=True)
    checks = check_everything(play.project, play.records, play.ledger, story, options.seed)
    tables.write(out, play.records, checks, time.time() - start)
    print((out / "month.md").read_text(encoding="utf-8"))
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise HarmoniadError(f"not as it should be: {'; '.join(failed)}. The project is in {play.project.folder}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing it has started is left behind
    common.run_main(main)
