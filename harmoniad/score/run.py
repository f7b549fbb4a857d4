"""Scoring images into a folder: the table, the pictures and the page, each as it comes."""

import contextlib
import hashlib
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harmoniad.data.images import ImageError, load_rgb
from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json, write_json
from harmoniad.prefetch import load_ahead
from harmoniad.progress import Progress
from harmoniad.report.heatmap import Scale, save, small_panels
from harmoniad.score.inputs import Found, Item, find, is_settled
from harmoniad.score.page import Page
from harmoniad.score.table import Row, ScoreTable, image_cell, text_cell

if TYPE_CHECKING:
    from harmoniad.inspector import Inspector, Origin, Prediction

TABLE, PAGE, HEATMAPS, OVERLAYS, ABOUT = "scores.csv", "index.html", "heatmaps", "overlays", "model.json"
LOCK = ".lock"
PICTURE_SIDE = 640  # pixels of the longer side of heat maps and overlays; smaller images stay as they are
PIXELS_AT_ONCE = 32_000_000  # bounds the memory: images of 20 megapixels are scored two at a time
WORKERS, DECODED_AHEAD = 2, 2
SECONDS_BETWEEN_LOOKS, SECONDS_TO_SETTLE, SECONDS_TO_COMPLETE = 1.0, 2.0, 60.0

Loaded = np.ndarray | ImageError


@dataclass(frozen=True)
class Settings:
    """How to score.

    Attributes:
        out: The folder for the results.
        category: Of the images whose category is not told.
        batch_size: How many images the model sees at once.
        heatmaps: Whether to write heat maps and overlays.
        fresh: Whether to delete what another call left in `out`.
    """

    out: Path
    category: str | None = None
    batch_size: int = 16
    heatmaps: bool = True
    fresh: bool = False


@dataclass(frozen=True)
class Summary:
    """How it ended.

    Attributes:
        counts: How many images have each verdict, those of earlier calls included.
        scored: How many were scored now.
        seconds: How long that took.
        left_out: How many files in folders are not named like an image.
    """

    counts: Counter[str]
    scored: int
    seconds: float
    left_out: int


def score(model: "Inspector", sources: Sequence[str], settings: Settings) -> Summary:
    """Score images; what an earlier call with the same model has scored, and has not changed, is not scored again.

    Args:
        model: From `harmoniad.load`.
        sources: See `harmoniad.score.inputs.find`.
        settings: How.

    Raises:
        HarmoniadError: There is nothing to score, or `out` holds the scores of another model.
    """
    found = find(sources, settings.category, settings.out)
    if not found.items:
        raise HarmoniadError(f"{', '.join(sources)}: no images (png, jpg, bmp, tiff or webp).")
    with _opened(model, settings) as scorer:
        todo = [item for item in found.items if scorer.table.of(item) is None]
        start = time.monotonic()
        with Progress("score", len(found.items), "images", done=len(found.items) - len(todo)) as progress:
            for count in scorer.score(todo):
                progress.advance(count)
        scorer.finish()
        return scorer.summary(found, len(todo), time.monotonic() - start)


def watch(model: "Inspector", sources: Sequence[str], settings: Settings, stop: threading.Event) -> Summary:
    """Score what is there and what arrives, until `stop` is set or the keyboard interrupts.

    A file is left for later while it is being written: until it has kept still for `SECONDS_TO_SETTLE`, and, where it
    cannot be decoded, for `SECONDS_TO_COMPLETE`.

    Raises:
        HarmoniadError: See `score`; that there is nothing to score yet is no error.
    """
    found, scored, busy = Found(), 0, 0.0
    with _opened(model, settings) as scorer, contextlib.suppress(KeyboardInterrupt):
        try:
            while not stop.is_set():
                found = find(sources, settings.category, settings.out, patient=True)
                todo = [item for item in found.items if is_settled(item, SECONDS_TO_SETTLE) and scorer.is_new(item)]
                start = time.monotonic()
                scored += sum(scorer.score(todo, patient=True))
                busy += time.monotonic() - start if todo else 0.0
                scorer.page.write(scorer.table.rows)
                stop.wait(SECONDS_BETWEEN_LOOKS)
        finally:
            scorer.finish()
    return scorer.summary(found, scored, busy)


class Scorer:
    """A model with the table, the pictures and the page that it fills."""

    def __init__(self, model: "Inspector", origin: "Origin", settings: Settings) -> None:
        self._model, self._settings = model, settings
        self.table = ScoreTable(settings.out / TABLE)
        self.page = Page(settings.out / PAGE, origin.name, model.threshold.normal_level)
        self._unreadable: set[tuple[str, int, int]] = set()  # by this call; the next one tries again

    def is_new(self, item: Item) -> bool:
        """Whether an image has still to be scored; one that this call could not read has not, unless it changes."""
        return self.table.of(item) is None and _identity(item) not in self._unreadable

    def score(self, items: Sequence[Item], *, patient: bool = False) -> Iterator[int]:
        """Score images, batch by batch.

        Args:
            items: The images.
            patient: Whether to leave a file that cannot be decoded for later, if it was written just now.

        Yields:
            How many images got their row.
        """
        for batch in self._batches(items):
            rows = [row for row in self._rows(batch, patient) if row is not None]
            self.table.add(rows)
            self.page.write(self.table.rows)
            yield len(rows)

    def finish(self) -> None:
        """Write the page as it is now."""
        self.page.write(self.table.rows, now=True)

    def summary(self, found: Found, scored: int, seconds: float) -> Summary:
        """Count the verdicts of the images that were asked for."""
        asked = {row.place: row for row in self.table.rows}
        rows = [asked.get(item.place) for item in found.items]
        return Summary(Counter(row.verdict for row in rows if row), scored, seconds, found.left_out)

    def _batches(self, items: Sequence[Item]) -> Iterator[list[tuple[Item, Loaded]]]:
        batch: list[tuple[Item, Loaded]] = []
        pixels = 0
        for loaded in load_ahead(items, _load, batch_size=DECODED_AHEAD, workers=WORKERS):
            for item, image in loaded:
                size = 0 if isinstance(image, ImageError) else image.shape[0] * image.shape[1]
                if batch and pixels + size > PIXELS_AT_ONCE:
                    yield batch
                    batch, pixels = [], 0
                batch.append((item, image))
                pixels += size
                if len(batch) >= self._settings.batch_size:
                    yield batch
                    batch, pixels = [], 0
        if batch:
            yield batch

    def _rows(self, batch: Sequence[tuple[Item, Loaded]], patient: bool) -> Iterable[Row | None]:
        readable = [(item, image) for item, image in batch if not isinstance(image, ImageError)]
        images, categories = [image for _, image in readable], [item.category for item, _ in readable]
        predictions = iter(self._model.predict(images, categories))
        for item, image in batch:
            if isinstance(image, ImageError):
                yield None if patient and not is_settled(item, SECONDS_TO_COMPLETE) else self._unread(item, image)
            else:
                yield self._scored(item, image, next(predictions))

    def _unread(self, item: Item, error: ImageError) -> Row:
        self._unreadable.add(_identity(item))
        return _row(item, verdict="unreadable", error=text_cell(error.reason))

    def _scored(self, item: Item, image: np.ndarray, prediction: "Prediction") -> Row:
        largest = prediction.regions[0] if prediction.regions else None
        row = _row(
            item,
            score=repr(float(prediction.score)),
            threshold=repr(float(prediction.threshold)),
            verdict="rejected" if prediction.is_anomalous else "accepted",
            region_box=" ".join(map(str, largest.box)) if largest else "",
            region_area=str(largest.area) if largest else "",
            heatmap=_picture_name(item) if self._settings.heatmaps else "",
        )
        if row.heatmap:
            scale = Scale(self._model.threshold.normal_level, prediction.threshold)
            self._save_pictures(row.heatmap, image, prediction.anomaly_map, scale)
        self.page.add(row, image, prediction.anomaly_map)
        return row

    def _save_pictures(self, name: str, image: np.ndarray, anomaly_map: np.ndarray, scale: Scale) -> None:
        """The map in colours on white, and on the image."""
        side = min(PICTURE_SIDE, max(image.shape[:2]))
        white = np.full((1, 1, 3), 255, np.uint8)
        for folder, ground in ((HEATMAPS, np.broadcast_to(white, image.shape)), (OVERLAYS, image)):
            panels = small_panels(np.ascontiguousarray(ground), anomaly_map, None, scale=scale, longest_side=side)
            save(self._settings.out / folder / name, panels[1][1])


@contextlib.contextmanager
def _opened(model: "Inspector", settings: Settings) -> Iterator[Scorer]:
    """Make the folder ready, and keep other calls out of it."""
    import filelock

    origin = model.origin
    if origin is None:
        raise HarmoniadError("the model was not loaded with harmoniad.load, so its scores could not be told apart.")
    settings.out.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(settings.out / LOCK, timeout=0):
            _claim(origin, settings)
            yield Scorer(model, origin, settings)
    except filelock.Timeout as error:
        raise HarmoniadError(f"{settings.out}: another `harmoniad score` is writing there.") from error


def _claim(origin: "Origin", settings: Settings) -> None:
    """Note in the folder whose scores it holds.

    Raises:
        HarmoniadError: It holds those of another model, or files that are not ours.
    """
    out, about = settings.out, settings.out / ABOUT
    ours = about.is_file() and _is_ours(about)
    if not ours and any((out / name).exists() for name in (TABLE, PAGE, HEATMAPS, OVERLAYS, ABOUT)):
        raise HarmoniadError(f"{out}: holds files that `harmoniad score` did not write. Choose another folder.")
    if ours and settings.fresh:
        for name in (TABLE, PAGE):
            (out / name).unlink(missing_ok=True)
        for name in (HEATMAPS, OVERLAYS):
            shutil.rmtree(out / name, ignore_errors=True)
    elif ours and (known := read_json(about))["digest"] != origin.digest:
        raise HarmoniadError(
            f"{out}: holds scores of another model ({known['model']}), not of {origin.name}. Choose another folder, or "
            "start anew with --fresh."
        )
    write_json(about, {"written_by": "harmoniad score", "model": origin.name, "digest": origin.digest})


def _is_ours(about: Path) -> bool:
    try:
        content = json.loads(about.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("written_by") == "harmoniad score" and "digest" in content


def _load(item: Item) -> Loaded:
    try:
        return load_rgb(item.path)
    except ImageError as error:
        return error
    except (OSError, ValueError, MemoryError) as error:  # a path that no file can have, no memory
        return ImageError(item.path, f"cannot be read ({type(error).__name__})")


def _row(
    item: Item,
    *,
    verdict: str,
    score: str = "",
    threshold: str = "",
    region_box: str = "",
    region_area: str = "",
    heatmap: str = "",
    error: str = "",
) -> Row:
    return Row(
        image=image_cell(item.path),
        category=text_cell(item.category or ""),
        score=score,
        threshold=threshold,
        verdict=verdict,
        region_box=region_box,
        region_area=region_area,
        heatmap=heatmap,
        error=error,
        bytes=str(item.bytes),
        modified=str(item.modified),
    )


def _picture_name(item: Item) -> str:
    """A file name that no other image has, whatever folder it lies in, and that any file system takes."""
    stem = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in item.path.stem)[:40]
    return f"{stem}-{hashlib.sha256(item.place.encode()).hexdigest()[:12]}.png"


def _identity(item: Item) -> tuple[str, int, int]:
    return item.place, item.bytes, item.modified
