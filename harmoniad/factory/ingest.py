"""New images from the inbox into the data sets: each is checked and taken, refused, or left for the next time."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harmoniad.data.layouts import layout_named
from harmoniad.data.layouts.record import Record
from harmoniad.data.measure import Row, measure_all
from harmoniad.data.sets import DATA_DIR, layout_name_of, names
from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.factory import journal
from harmoniad.factory.inbox import INBOX_DIR, Delivery, read_inbox
from harmoniad.factory.inspection import Verdict, inspect, may_still_come
from harmoniad.factory.journal import Entry, Move
from harmoniad.factory.late_masks import match_late_masks
from harmoniad.factory.places import Target
from harmoniad.factory.quarantine import quarantine, shown
from harmoniad.files import sha256_file, write_json
from harmoniad.params import Params
from harmoniad.stages.prepare import row_of

REPORT = Path("results/ingest/report.json")
LOCK = STATE_DIR / "ingest.lock"
LINES_SHOWN = 10  # of refused images, and of notes


@dataclass(frozen=True)
class Taken:
    """An image that went into a data set."""

    image: str
    data_set: str
    category: str
    defect: str
    split: str


@dataclass
class Report:
    """What became of the inbox.

    Attributes:
        taken: Images that went into data sets.
        masks: Masks that followed their images.
        quarantined: The reasons, for each image that went to quarantine.
        waiting: Why, for each file that is left for the next time.
        notes: What is worth a look.
        finished: How many images and masks a run that was killed had left to be moved.
    """

    taken: list[Taken] = field(default_factory=list)
    masks: int = 0
    quarantined: dict[str, list[str]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    finished: int = 0

    def lines(self) -> list[str]:
        """For the user."""
        count: dict[str, dict[str, int]] = {}
        for image in self.taken:
            of_set = count.setdefault(image.data_set, {})
            of_set[image.split] = of_set.get(image.split, 0) + 1
        lines = [
            f"ingest: {name}: {of_set.get('train', 0)} train, {of_set.get('held_out', 0)} held out, "
            f"{of_set.get('test', 0)} test (reviewed defects)"
            for name, of_set in sorted(count.items())
        ]
        if self.masks:
            lines.append(f"ingest: {self.masks} masks of images that came before")
        if self.finished:
            lines.append(f"ingest: finished what a killed run had begun ({self.finished} files)")
        lines += _some([f"quarantine: {file}: {'; '.join(reasons)}" for file, reasons in self.quarantined.items()])
        if self.waiting:
            first, why = next(iter(self.waiting.items()))
            lines.append(f"waiting: {len(self.waiting)} files, such as {first} ({why})")
        return [*lines, *_some([f"note: {note}" for note in self.notes])] or ["ingest: nothing new in data/inbox"]


def _some(lines: list[str]) -> list[str]:
    more = len(lines) - LINES_SHOWN
    return [*lines[:LINES_SHOWN], f"… and {more} more in {REPORT.as_posix()}"] if more > 0 else lines


def run(params: Params) -> Report:
    """Take in what lies in the inbox, and write `results/ingest/report.json`.

    Raises:
        HarmoniadError: Another ingest is running, the disk is full, or a file cannot be read. No image is lost: run it
            again.
    """
    INBOX_DIR.mkdir(parents=True, exist_ok=True)
    with _alone():
        report = Report()
        report.finished = sum(len(entry.moves) for entry in journal.finish())
        contents = read_inbox(params.ingest.quiet_seconds)
        report.waiting = {shown(path): why for path, why in contents.waiting.items()}
        misplaced = {path: why for path, why in contents.misplaced.items() if _readable(path, report)}
        report.quarantined = {shown(path): [why] for path, why in misplaced.items()}
        entries = [quarantine([path], [why]) for path, why in misplaced.items()]
        targets = _targets(contents.data_sets, params, report)
        deliveries = [delivery for delivery in contents.deliveries if delivery.data_set in targets]
        entries += _decide(deliveries, targets, params, report)
        masks = [mask for mask in contents.loose_masks if mask.data_set in targets]
        entries += match_late_masks(masks, targets, params, report)
        for name in sorted({image.data_set for image in report.taken}):
            targets[name].create()
        journal.carry_out(entries)
        write_json(REPORT, asdict(report))
        return report


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    import filelock

    LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(LOCK, timeout=0):
            yield
    except filelock.Timeout as error:
        raise HarmoniadError(f"{LOCK.as_posix()}: another ingest is running. Wait until it has ended.") from error


def _targets(wanted: set[str], params: Params, report: Report) -> dict[str, Target]:
    """The data sets that images came for; those that take none are told, and their images stay in the inbox."""
    targets = {}
    for name in sorted(wanted):
        try:
            targets[name] = Target(name, params)
        except HarmoniadError as error:
            report.notes.append(f"images of `{name}` stay in the inbox: {error}")
            continue
        if name not in params.data.sets:
            report.notes.append(f"`{name}` takes no part: it is not in data.sets of params.yaml")
    return targets


def _decide(deliveries: Sequence[Delivery], targets: dict[str, Target], params: Params, report: Report) -> list[Entry]:
    """Check deliveries and say where each goes; what is not yet whole is left."""
    ready = [delivery for delivery in deliveries if all(_readable(path, report) for path in delivery.files)]
    if not ready:
        return []
    before = [_state(delivery) for delivery in ready]
    records = [Record(item.image, item.category, "by_hash", item.label, item.defect, item.masks) for item in ready]
    measured = measure_all(records, "ingest")
    rows = [row_of(record, item.data_set, row) for record, item, row in zip(records, ready, measured, strict=True)]
    left = [_not_yet_whole(*each, params) for each in zip(ready, rows, before, strict=True)]
    report.waiting |= {shown(item.image): why for item, why in zip(ready, left, strict=True) if why}
    whole = [place for place, why in enumerate(left) if not why]
    verdicts = inspect([rows[place] for place in whole], _known_rows(), params) if whole else []
    return [
        _entry(ready[place], rows[place], verdict, targets, report)
        for place, verdict in zip(whole, verdicts, strict=True)
    ]


def _entry(delivery: Delivery, row: Row, verdict: Verdict, targets: dict[str, Target], report: Report) -> Entry:
    if verdict.reasons:
        report.quarantined[shown(delivery.image)] = verdict.reasons
        return quarantine(delivery.files, verdict.reasons)
    target, sha256 = targets[delivery.data_set], str(row["sha256"])
    place = target.place(delivery, sha256)
    report.notes += [f"{place.image.as_posix()}: {note}" for note in verdict.notes]
    taken = Taken(place.image.as_posix(), target.name, delivery.category, delivery.defect, place.split)
    report.taken.append(taken)
    if delivery.category not in target.categories:
        note = f"{target.root.as_posix()}: the category {delivery.category} is new"
        if note not in report.notes:
            report.notes.append(note)
    masks = [
        Move(str(mask), sha256_file(mask), str(goal)) for mask, goal in zip(delivery.masks, place.masks, strict=True)
    ]
    line = {
        "image": place.image.relative_to(target.root).as_posix(),
        "category": delivery.category,
        "split": place.listed_split,
        "label": delivery.label,
        "defect": delivery.defect,
        "masks": [mask.relative_to(target.root).as_posix() for mask in place.masks],
    }
    image = Move(str(delivery.image), sha256, str(place.image))
    return Entry("take", [*masks, image], root=str(target.root), line=line)


def _known_rows() -> list[Row]:
    """The measurements of all images in all data sets; only those that are new since the last scan are read."""
    rows = []
    for name in sorted(set(names())):
        try:
            records = list(layout_named(layout_name_of(DATA_DIR / name)).read(DATA_DIR / name))
        except HarmoniadError:
            continue  # not here, or none of ours: `prepare` says so if it takes part
        measured = measure_all(records, "known") if records else []
        rows += [row_of(record, name, row) for record, row in zip(records, measured, strict=True)]
    return rows


def _not_yet_whole(delivery: Delivery, row: Row, before: list[tuple[int, int]], params: Params) -> str:
    """Why a delivery is left for the next time; empty if it is not."""
    if _state(delivery) != before:
        return "changed while it was looked at"
    return may_still_come(str(row["problem"]), delivery.files, params.ingest)


def _state(delivery: Delivery) -> list[tuple[int, int]]:
    """Size and time of the last change of each file; nothing if one is gone."""
    try:
        return [(status.st_size, status.st_mtime_ns) for status in (path.stat() for path in delivery.files)]
    except OSError:
        return []


def _readable(path: Path, report: Report) -> bool:
    if os.access(path, os.R_OK):
        return True
    report.waiting[shown(path)] = "cannot be read"
    return False
