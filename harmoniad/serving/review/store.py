"""Images that are kept for review: a folder each, bounded in number and bytes, and read again after a restart."""

import datetime
import hashlib
import secrets
import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json, replacing_folder, write_bytes, write_json
from harmoniad.report.text import one_line

ITEM_FILE = "item.json"
LONGEST_NAME = 120


@dataclass(frozen=True)
class Decision:
    """What a person said of an image.

    Attributes:
        word: `defect`, `false_alarm` or `unsure`.
        who: The name that the person gave.
        when: With the offset from UTC.
        category: Of the part, one that the model knows.
        kind: Of the defect; empty for the other words.
        path: Where the image was written in the inbox; empty if it was not.
    """

    word: str
    who: str
    when: str
    category: str
    kind: str = ""
    path: str = ""


@dataclass(frozen=True)
class Item:
    """An image that was judged and kept.

    Attributes:
        key: Names the item in addresses, and its folder.
        when: When it was judged, with the offset from UTC.
        name: What the sender called the file: for people to read, never a path.
        category: As the sender gave it; empty if not.
        score: Raw image score.
        threshold: What it was compared with.
        is_anomalous: The verdict.
        model: Which one judged.
        sha256: Of the image's bytes.
        suffix: Of the image's own format, with the dot.
        width: In pixels.
        height: In pixels.
        decision: What a person said of it, if somebody did.
    """

    key: str
    when: str
    name: str
    category: str
    score: float
    threshold: float
    is_anomalous: bool
    model: str
    sha256: str
    suffix: str
    width: int
    height: int
    decision: Decision | None = None

    @property
    def day(self) -> str:
        """The date on which it was judged, where the server stands."""
        return self.when[:10]

    @property
    def state(self) -> str:
        """`open`, `unsure` or `decided`."""
        if self.decision is None:
            return "open"
        return "unsure" if self.decision.word == "unsure" else "decided"


@dataclass
class _Kept:
    item: Item
    bytes: int = field(default=0)


class ReviewStore:
    """The images that are kept, oldest first.

    Args:
        folder: Where they lie.
        max_images: How many are kept.
        max_bytes: How much they may take.

    Raises:
        HarmoniadError: Another server uses the folder.
    """

    def __init__(self, folder: Path, max_images: int, max_bytes: int) -> None:
        self.folder, self._max_images, self._max_bytes = folder, max_images, max_bytes
        self._items_folder = folder / "items"
        self._items_folder.mkdir(parents=True, exist_ok=True)
        self._owner = FileLock(folder / ".lock", timeout=0)
        try:
            self._owner.acquire()
        except Timeout as error:
            raise HarmoniadError(
                f"{folder}: another server uses it. Choose another folder with --review-dir."
            ) from error
        self.lock = threading.RLock()
        self.drawing = threading.Lock()  # of pictures: one image at a time bounds the memory
        self._kept: dict[str, _Kept] = {}
        for path in sorted(self._items_folder.iterdir()):
            self._read(path)

    def close(self) -> None:
        """Let another server use the folder."""
        self._owner.release()

    def add(self, content: bytes, files: Mapping[str, bytes], **values: Any) -> Item:
        """Keep an image.

        Args:
            content: The image's file as it came.
            files: What lies beside it, by name.
            values: The other attributes of `Item`.
        """
        now, sha256 = datetime.datetime.now().astimezone(), hashlib.sha256(content).hexdigest()
        values["name"] = one_line(values["name"])[:LONGEST_NAME]
        key = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(8)}"
        item = Item(key=key, when=now.isoformat(timespec="milliseconds"), sha256=sha256, **values)
        with replacing_folder(self._items_folder / key) as folder:
            (folder / f"image{item.suffix}").write_bytes(content)
            for name, more in files.items():
                (folder / name).write_bytes(more)
            write_json(folder / ITEM_FILE, asdict(item))
        with self.lock:
            self._kept[key] = _Kept(item, len(content) + sum(map(len, files.values())))
            self._make_room()
        return item

    def keep(self, item: Item, files: Mapping[str, bytes]) -> None:
        """Write more files beside an image, if it is still kept.

        Raises:
            HarmoniadError: The disk is full.
        """
        with self.lock:
            if item.key not in self._kept:
                return
            for name, content in files.items():
                write_bytes(self.file(item, name), content)
            self._kept[item.key].bytes += sum(map(len, files.values()))

    def items(self) -> list[Item]:
        """All items, the newest first."""
        with self.lock:
            return [kept.item for kept in reversed(self._kept.values())]

    def find(self, key: str) -> Item | None:
        """The item of that key, if it is (still) kept."""
        with self.lock:
            kept = self._kept.get(key)
            return kept.item if kept else None

    def file(self, item: Item, name: str) -> Path:
        """A file of an item; `name` must not come from a request."""
        return self._items_folder / item.key / name

    def image(self, item: Item) -> bytes:
        """The image's file as it came."""
        return self.file(item, f"image{item.suffix}").read_bytes()

    def decided(self, item: Item, decision: Decision | None) -> Item:
        """Note what a person said of an item, or that it was taken back."""
        item = replace(item, decision=decision)
        with self.lock:
            write_json(self.file(item, ITEM_FILE), asdict(item))
            self._kept[item.key].item = item
        return item

    def _read(self, folder: Path) -> None:
        """Take in what another run has kept; what cannot be read is removed."""
        try:
            content = read_json(folder / ITEM_FILE)
            content["decision"] = Decision(**content["decision"]) if content["decision"] else None
            item = Item(**content)
            if item.key != folder.name:
                raise ValueError
        except (HarmoniadError, OSError, TypeError, KeyError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)  # a kill left it behind, or another version of harmoniad
            return
        self._kept[item.key] = _Kept(item, sum(path.stat().st_size for path in folder.iterdir()))

    def _make_room(self) -> None:
        while len(self._kept) > self._max_images or sum(kept.bytes for kept in self._kept.values()) > self._max_bytes:
            settled = (key for key, kept in self._kept.items() if kept.item.state == "decided")
            key = next(settled, None) or next(iter(self._kept))
            del self._kept[key]
            shutil.rmtree(self._items_folder / key, ignore_errors=True)
