"""The page that `harmoniad score` leaves: counts, and the worst images with their heat maps, in one file."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harmoniad.data.images import ImageError, load_rgb
from harmoniad.files import write_bytes
from harmoniad.report.gallery import Group, Panel, panels_of
from harmoniad.report.heatmap import Scale
from harmoniad.report.page import template
from harmoniad.score.table import Row

if TYPE_CHECKING:
    import jinja2

SHOWN, LONGEST_SIDE = 200, 192  # images, and pixels of each picture: a page of about 2 MB
UNREADABLE_SHOWN = 200
SECONDS_BETWEEN = 20.0


class Page:
    """The page, and the small pictures that it shows.

    Args:
        path: The file.
        model: What the model is called.
        normal_level: Where the colour scale begins.
    """

    def __init__(self, path: Path, model: str, normal_level: float) -> None:
        self._path, self._model, self._normal_level = path, model, normal_level
        self._panels: dict[str, list[Panel]] = {}
        self._written = -np.inf

    def add(self, row: Row, image: np.ndarray, anomaly_map: np.ndarray) -> None:
        """Keep the pictures of an image that was just scored."""
        scale = Scale(self._normal_level, float(row.threshold))
        self._panels[row.place] = panels_of(image, anomaly_map, None, scale=scale, longest_side=LONGEST_SIDE)

    def write(self, rows: Sequence[Row], *, now: bool = False) -> None:
        """Write the page, but not more often than every `SECONDS_BETWEEN` unless it must be `now`.

        Raises:
            HarmoniadError: The disk is full.
        """
        if not now and time.monotonic() - self._written < SECONDS_BETWEEN:
            return
        scored = sorted((self._placed(row) for row in rows if row.score), key=lambda image: -image["place"])
        unreadable = [row for row in rows if not row.score]
        shown = scored[:SHOWN]
        self._panels = {image["row"].place: self._panels_of(image["row"]) for image in shown}
        groups = [
            Group(verdict, found, sum(image["row"].verdict == verdict for image in scored))
            for verdict in ("rejected", "accepted")
            if (found := [self._shown(image) for image in shown if image["row"].verdict == verdict])
        ]
        page = _template().render(
            model=self._model,
            counts=Counter(row.verdict for row in rows),
            categories=_by_category(rows),
            groups=groups,
            unreadable=unreadable[:UNREADABLE_SHOWN],
            shown=len(shown),
            total=len(rows),
        )
        write_bytes(self._path, page.encode())
        self._written = time.monotonic()

    def _placed(self, row: Row) -> dict[str, Any]:
        """An image with its place on the colour scale, on which categories compare: 1 is the threshold."""
        scale = Scale(self._normal_level, float(row.threshold))
        return {"row": row, "place": scale.positions(np.array(float(row.score), np.float32)).item()}

    def _shown(self, image: Mapping[str, Any]) -> dict[str, Any]:
        row: Row = image["row"]
        return {
            "category": row.category,
            "defect": row.verdict,
            "outcome": row.verdict,
            "score": float(row.score),
            "threshold": float(row.threshold),
            "place": image["place"],
            "path": row.image,
            "region": row.region_box,
            "area": row.region_area,
            "panels": self._panels[row.place],
        }

    def _panels_of(self, row: Row) -> list[Panel]:
        """The pictures of an image; those of an earlier call are made again from its files."""
        if row.place in self._panels:
            return self._panels[row.place]
        found: list[Panel] = []
        overlay = self._path.parent / "overlays" / row.heatmap
        for name, path in (("image", Path(row.image)), ("anomaly map", overlay if row.heatmap else None)):
            try:
                picture = load_rgb(path) if path is not None else None
            except ImageError:
                picture = None
            if picture is not None:
                nothing, no_scale = np.zeros((1, 1), np.float32), Scale(0, 1)
                panels = panels_of(picture, nothing, None, scale=no_scale, longest_side=LONGEST_SIDE)
                found.append(Panel(name, panels[0].data, panels[0].width, panels[0].height))
        return found or [Panel("image", _NOTHING, 1, 1)]


_NOTHING = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="  # an empty picture of one pixel


def _template() -> "jinja2.Template":
    import jinja2

    environment = template("base.html").environment
    own = jinja2.FileSystemLoader(Path(__file__).parent)
    return environment.overlay(loader=jinja2.ChoiceLoader([own, environment.loader or own])).get_template("score.html")


def _by_category(rows: Sequence[Row]) -> list[tuple[str, Counter[str]]]:
    found: dict[str, Counter[str]] = {}
    for row in rows:
        found.setdefault(row.category, Counter())[row.verdict] += 1
    return sorted(found.items())
