"""The gallery of a report: which images it shows, in which order, and their small pictures."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harmoniad.report.heatmap import LONGEST_SIDE, Picture, Scale, small_panels
from harmoniad.report.samples import FALSE_ALARM, MISSED, outcomes

if TYPE_CHECKING:
    import pandas as pd

NEAREST = "nearest to the threshold"
GROUPS = (MISSED, FALSE_ALARM, NEAREST)
"""What is shown first: parts that the model got wrong, then those on which it was right by the smallest margin."""

PANELS = 3  # of an image: itself, its anomaly map, the marked defect
MAX_PIXELS = 40_000_000  # of all pictures of a page; about 5 MB as WebP, which a browser opens in well under 2 s


@dataclass(frozen=True)
class Panel:
    """A picture as it stands in the page: what it shows, WebP in base64, and its size in pixels."""

    name: str
    data: str
    width: int
    height: int


@dataclass(frozen=True)
class Group:
    """Images that are shown together.

    Attributes:
        name: One of `GROUPS`.
        images: For each its row of the scores, `place` on the colour scale (1 is the threshold) and `panels`.
        total: How many images there are of this group, those included that are not shown.
    """

    name: str
    images: Sequence[Mapping[str, Any]]
    total: int


def worst_first(scores: "pd.DataFrame", normal_level: float, limit: int) -> list[int]:
    """Choose the test images of the gallery.

    Missed defects, the one farthest below its threshold first; false alarms, the one farthest above first; then the
    images that were judged rightly, the nearest to its threshold first. Distances are those on the colour scale, so
    that categories with different thresholds compare. Where the limit cuts, each group gives in turn.

    Args:
        scores: With the columns of `results/evaluate/scores.csv`.
        normal_level: Where the colour scale begins.
        limit: At most so many images.

    Returns:
        Positions of rows (for `iloc`).
    """
    table = _placed(scores, normal_level)
    groups = [table[table["group"] == name]["position"].tolist() for name in GROUPS]
    in_turn = [position for position in chain.from_iterable(zip_longest(*groups)) if position is not None]
    kept = set(in_turn[:limit])
    return [position for position in chain.from_iterable(groups) if position in kept]


def group_images(scores: "pd.DataFrame", normal_level: float, panels: Mapping[int, Sequence[Panel]]) -> list[Group]:
    """Put the images that have pictures into their groups, in the order of `worst_first`.

    Args:
        scores: As for `worst_first`.
        normal_level: As for `worst_first`.
        panels: The pictures of some rows of `scores`, by position.
    """
    table = _placed(scores, normal_level)
    groups = []
    for name in GROUPS:
        rows = table[table["group"] == name].to_dict("records")
        shown: list[dict[Any, Any]] = [
            {**row, "panels": panels[row["position"]]} for row in rows if row["position"] in panels
        ]
        if shown:
            groups.append(Group(name, shown, len(rows)))
    return groups


def longest_side(images: int) -> int:
    """How large each picture may be, so that a page with so many images opens fast."""
    return int(min(LONGEST_SIDE, (MAX_PIXELS / PANELS / max(1, images)) ** 0.5))


def panels_of(
    image: Picture,
    anomaly_map: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    *,
    scale: Scale,
    longest_side: int,
) -> list[Panel]:
    """The pictures of one image; for the arguments see `heatmap.small_panels`."""
    drawn = small_panels(image, anomaly_map, mask, scale=scale, longest_side=longest_side)
    return [Panel(name, _webp(picture), picture.shape[1], picture.shape[0]) for name, picture in drawn]


def _webp(picture: Picture) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=75, method=2)
    return base64.b64encode(buffer.getvalue()).decode()


def _placed(scores: "pd.DataFrame", normal_level: float) -> "pd.DataFrame":
    """The test images with their position, outcome, group and place on the colour scale, worst first in each group."""
    table = scores.assign(position=range(len(scores)), outcome=outcomes(scores))
    table = table[table["split"] == "test"]
    wrong = table["outcome"].isin([MISSED, FALSE_ALARM])
    places = [
        Scale(normal_level, threshold).positions(np.array(score, np.float32)).item()
        for score, threshold in zip(table["score"], table["threshold"], strict=True)
    ]
    table = table.assign(place=places, group=table["outcome"].where(wrong, NEAREST))
    distance = (table["place"] - 1).abs()
    order = table.assign(order=distance.where(~wrong, -distance))
    return order.sort_values(["order", "category", "path"], kind="stable")
