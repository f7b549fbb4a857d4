"""What the plant's cameras deliver: pictures of the sample factory, and a ledger of all that ever came."""

import hashlib
import io
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harmoniad.data.sample.shots import CATALOGUE, Shot, take
from harmoniad.data.sets import DATA_SET_FILE
from harmoniad.files import write_json

SET = "plant"
QUARANTINE = Path("data/quarantine")
INBOX = Path("data/inbox")
WRITTEN_AGO = 3 * 3600  # seconds: what is complete has been lying there for a while
REASON = ".reason.json"
CORRUPT = ("truncated", "noise", "text", "empty", "flipped")


@dataclass
class Ledger:
    """Every file that came into the project, by what it holds.

    Attributes:
        files: How often each content came, by its SHA-256.
        taken: How many shots of each category and group were taken, so that none is taken twice.
        halves: Files that are half written, by path: the shot, and the half that lies there.
    """

    files: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    halves: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, content: bytes) -> None:
        """A file has come."""
        self.files[hashlib.sha256(content).hexdigest()] += 1

    def next_shot(self, category: str, group: str) -> Shot:
        """A shot that was not taken before."""
        key = f"{category}/{group}"
        self.taken[key] += 1
        return Shot(category, group, self.taken[key] - 1)

    def save(self, path: Path) -> None:
        write_json(path, {"files": self.files, "taken": self.taken, "halves": self.halves})

    @classmethod
    def load(cls, path: Path) -> "Ledger":
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(Counter(content["files"]), Counter(content["taken"]), content["halves"])


@dataclass(frozen=True)
class Camera:
    """Takes pictures and writes them where they belong.

    Attributes:
        root: The project.
        ledger: Gets each file.
        seed: Of the plant.
        size: Side of a picture in pixels.
        light: 1 for a new lamp, less for an old one.
    """

    root: Path
    ledger: Ledger
    seed: int
    size: int
    light: float = 1.0

    def history(self, folder: Path, category: str, *, train: int, good: int, kinds: dict[str, int]) -> None:
        """Write a data set as people keep it, in the layout of MVTec AD."""
        wanted = [("train", train), ("good", good), *kinds.items()]
        for group, count in wanted:
            for _ in range(count):
                shot = self.ledger.next_shot(category, group)
                image, mask = self._pictures(shot)
                self._write(folder / shot.image_path, image)
                if mask:
                    self._write(folder / shot.mask_path, mask)

    def good(self, category: str, count: int, day: str) -> list[Path]:
        """Deliver good parts to the inbox."""
        return [self.deliver(self.ledger.next_shot(category, "train"), f"good/{day}") for _ in range(count)]

    def defects(self, category: str, kind: str, count: int) -> None:
        """Deliver reviewed defects with their masks to the inbox."""
        for _ in range(count):
            shot = self.ledger.next_shot(category, kind)
            image, mask = self._pictures(shot)
            place = self.root / INBOX / SET / category
            self._write(place / "defect" / kind / f"{shot.index:04d}.png", image)
            self._write(place / "masks" / kind / f"{shot.index:04d}_mask.png", mask)

    def mislabelled(self, category: str, kind: str, count: int, day: str) -> list[Shot]:
        """Deliver defective parts as good ones."""
        shots = [self.ledger.next_shot(category, kind) for _ in range(count)]
        for shot in shots:
            self.deliver(shot, f"good/{day}")
        return shots

    def deliver(self, shot: Shot, folder: str) -> Path:
        """Deliver one picture to a folder of its category in the inbox."""
        path = self.place(shot, folder)
        self._write(path, self._pictures(shot)[0])
        return path

    def place(self, shot: Shot, folder: str) -> Path:
        return self.root / INBOX / SET / shot.category / folder / f"{shot.group}-{shot.index:04d}.png"

    def half(self, category: str, day: str, *, renames: bool) -> None:
        """Begin to write a good part's picture; `complete` writes the rest on another day.

        Args:
            category: Of what.
            day: The folder.
            renames: Whether it has another name until it is complete, as rsync gives; else it is only truncated.
        """
        shot = self.ledger.next_shot(category, "train")
        path = self.place(shot, f"good/{day}")
        whole = self._pictures(shot)[0]
        begun = path.with_name(f"{path.name}.part") if renames else path
        self._write(begun, whole[: len(whole) // 2], ago=60)
        self.ledger.halves[begun.relative_to(self.root).as_posix()] = {
            "category": category,
            "index": shot.index,
            "to": path.relative_to(self.root).as_posix(),
            "sha256": hashlib.sha256(whole[: len(whole) // 2]).hexdigest(),
            "light": self.light,
        }

    def complete(self) -> None:
        """Write the rest of what is half written."""
        for name, half in self.ledger.halves.items():
            self.ledger.files[half["sha256"]] -= 1
            (self.root / name).unlink(missing_ok=True)
            old = Camera(self.root, self.ledger, self.seed, self.size, half["light"])
            whole = old._pictures(Shot(half["category"], "train", half["index"]))[0]
            self._write(self.root / half["to"], whole)
        self.ledger.halves.clear()
        self.ledger.files += Counter()  # drops what came to nothing

    def shelf(self, category: str, count: int) -> None:
        """Put good parts among the test images of the data set, by hand."""
        for _ in range(count):
            shot = self.ledger.next_shot(category, "good")
            self._write(self.root / "data" / SET / shot.image_path, self._pictures(shot)[0])

    def relabelled(self, shot: Shot, name: str) -> Path:
        """Deliver the mask of a picture that came as a good one, and say where the picture itself belongs."""
        place = self.root / INBOX / SET / shot.category
        self._write(place / "masks" / shot.group / f"{Path(name).stem}_mask.png", self._pictures(shot)[1])
        return place / "defect" / shot.group / name

    def corrupt(self, category: str, number: int, day: str) -> None:
        """Deliver what is called a good part's picture and is none."""
        shot = self.ledger.next_shot(category, "train")
        whole = self._pictures(shot)[0]
        content = {
            "truncated": whole[: len(whole) // 3],
            "noise": hashlib.sha256(whole).digest() * 50,
            "text": f"camera {shot.index} could not be reached\n".encode(),
            "empty": b"",
            "flipped": whole[:60] + bytes(255 - byte for byte in whole[60:400]) + whole[400:],
        }[CORRUPT[number % len(CORRUPT)]]
        self._write(self.place(shot, f"good/{day}"), content)

    def again(self, path: Path, day: str) -> None:
        """Deliver a file once more, under another name."""
        self._write(path.parent.parent / day / f"again-{path.name}", path.read_bytes())

    def _pictures(self, shot: Shot) -> tuple[bytes, bytes]:
        """PNG of the image, and of the mask if there is one."""
        picture = take(shot, self.seed, self.size)
        image = picture.image
        if self.light < 1:
            image = (image * self.light + 0.5).astype(np.uint8)
        return _png(image), b"" if picture.mask is None else _png(picture.mask)

    def _write(self, path: Path, content: bytes, ago: float = WRITTEN_AGO) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (time.time() - ago,) * 2)
        self.ledger.add(content)


def kinds_of(category: str) -> tuple[str, ...]:
    """The kinds of defect of a category."""
    return CATALOGUE[category].kinds


def present(root: Path) -> dict[str, list[Path]]:
    """Every file that lies in the data set, in quarantine or in the inbox, by the SHA-256 of its content."""
    found: dict[str, list[Path]] = {}
    for path in _files(root):
        found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), []).append(path)
    return found


def _files(root: Path) -> Iterator[Path]:
    for part in (Path("data") / SET, QUARANTINE, INBOX):
        for path in sorted((root / part).rglob("*")):
            of_ours = path.name.startswith(".") or path.name.endswith(REASON) or path.name == DATA_SET_FILE
            if path.is_file() and not of_ours:
                yield path


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
