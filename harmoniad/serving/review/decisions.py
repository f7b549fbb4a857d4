"""A person's word on an image: it puts the image into the inbox, for the retraining, and a line into a log."""

import csv
import datetime
import json
import os
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from harmoniad.data.layouts.record import check_label
from harmoniad.errors import HarmoniadError
from harmoniad.factory.inbox import INBOX_DIR
from harmoniad.files import full_disk_is_told, sha256_file, write_bytes
from harmoniad.report.text import one_line
from harmoniad.serving.review.store import Decision, Item, ReviewStore

WORDS = ("defect", "false_alarm", "unsure")
LOG = "decisions.jsonl"
LONGEST_WHO = 60


class ConflictError(HarmoniadError):
    """Somebody else was faster."""


class Decisions:
    """Carries out what people say.

    Args:
        store: The images.
        data_set: The set in the inbox that they go to.
        kinds: The kinds of defects that may be chosen.

    Raises:
        HarmoniadError: The name of the set or of a kind cannot be that of a folder.
    """

    def __init__(self, store: ReviewStore, data_set: str, kinds: Collection[str]) -> None:
        for name in (data_set, *kinds):
            check_label(name)
        self._store, self._data_set, self._kinds = store, data_set, kinds

    def decide(self, item: Item, word: str, *, category: str, kind: str, who: str, known: Collection[str]) -> Item:
        """Write the image into the inbox, and the decision into the log.

        Args:
            item: The image.
            word: One of `WORDS`.
            category: Of the part.
            kind: Of the defect, where it is one.
            who: The person's name.
            known: The categories that there are: no other becomes the name of a folder.

        Raises:
            ConflictError: It is decided already.
            HarmoniadError: The category or kind is none of those known or cannot name a folder, or the disk is full.
        """
        if word not in WORDS:
            raise HarmoniadError(f"`{one_line(word)}` is no decision: {', '.join(WORDS)}.")
        if word != "unsure" and category not in known:
            raise HarmoniadError("choose the category of the part first.")
        if word == "defect" and kind not in self._kinds:
            raise HarmoniadError("choose the kind of the defect first.")
        with self._store.lock:
            current = self._store.find(item.key)
            if current is None or current.state == "decided":
                by = current.decision.who if current and current.decision else ""
                raise ConflictError(f"decided already by {by or 'somebody else'}." if current else "no longer kept.")
            path = ""
            if word != "unsure":
                check_label(category)  # which a model's folder names that nobody registered
                folder = INBOX_DIR / self._data_set / category
                folder = folder / "good" if word == "false_alarm" else folder / "defect" / kind
                write_bytes(folder / self._file_name(item), self._store.image(item))
                path = (folder / self._file_name(item)).as_posix()
            decision = Decision(
                word, one_line(who)[:LONGEST_WHO], _now(), category, kind if word == "defect" else "", path
            )
            item = self._store.decided(current, decision)
            self._log(item, decision, word)
            return item

    def undo(self, item: Item, who: str) -> Item:
        """Take a decision back, as long as the image still lies in the inbox.

        Raises:
            ConflictError: There is no decision, or the image has been taken in.
        """
        with self._store.lock:
            current = self._store.find(item.key)
            if current is None or current.decision is None:
                raise ConflictError("there is nothing to take back.")
            decision = current.decision
            if decision.path:
                path = Path(decision.path)
                if not path.is_file() or sha256_file(path) != current.sha256:
                    raise ConflictError("too late: the image has been taken into its data set.")
                path.unlink()
            item = self._store.decided(current, None)
            self._log(item, Decision("undo", one_line(who)[:LONGEST_WHO], _now(), decision.category), "undo")
            return item

    def _file_name(self, item: Item) -> str:
        return f"review-{item.key}{item.suffix}"

    def _log(self, item: Item, decision: Decision, word: str) -> None:
        line = {
            **{"when": decision.when, "who": decision.who, "decision": word, "item": item.key},
            **{"file": item.name, "sha256": item.sha256, "score": item.score, "threshold": item.threshold},
            **{"flagged": item.is_anomalous, "model": item.model, "judged": item.when},
            **{key: value for key, value in asdict(decision).items() if key in ("category", "kind", "path")},
        }
        log = self._store.folder / LOG
        with full_disk_is_told(log), log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def known_kinds(manifest: Path) -> tuple[str, ...]:
    """The kinds of defects in a data set's manifest, and `other`."""
    kinds = set()
    if manifest.is_file():
        with manifest.open(encoding="utf-8", newline="") as file:
            kinds = {row.get("defect") or "good" for row in csv.DictReader(file)}
    return (*sorted(kinds - {"good", "other"}), "other")


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
