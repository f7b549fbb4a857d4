"""What speaks against taking a new image: the checks of `validate`, and those that only an image that is new can fail.

A check of severity `error` keeps an image out, a `warning` is noted. Duplicates are always kept out. Brightness and
sharpness keep a good image out where they leave the accepted range by more than `ingest.margin`, unless they are `off`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.data.manifest import as_table
from harmoniad.data.measure import Row
from harmoniad.data.near_duplicates import near_duplicates
from harmoniad.data.reference import MEASURES, outside
from harmoniad.factory.inbox import age
from harmoniad.files import read_json
from harmoniad.params import Ingest, Params, Validate
from harmoniad.stages.validate import REFERENCE

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Verdict:
    """What was found out about one image.

    Attributes:
        reasons: Why it is not taken; empty if it is.
        notes: What is worth a look.
    """

    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def inspect(new: Sequence[Row], known: Sequence[Row], params: Params) -> list[Verdict]:
    """Check new images.

    Args:
        new: A row of the manifest for each new image, each with a `path` of its own.
        known: The rows of all images that the project has, of whatever data set.
        params: The checks.

    Returns:
        A verdict an image, in the order of `new`.
    """
    verdicts = [Verdict() for _ in new]
    severity = params.validate_.severity.model_dump()

    def found(position: int, check: str, text: str) -> None:
        if severity[check] != "off":
            verdict = verdicts[position]
            (verdict.reasons if severity[check] == "error" else verdict.notes).append(text)

    for position, row in enumerate(new):
        if row["problem"]:
            verdicts[position].reasons.append(str(row["problem"]))
            continue
        for check, text in by_itself(row, params.validate_):
            found(position, check, text)
    for position, text in _duplicates(new, known).items():
        verdicts[position].reasons.append(text)
    table = as_table(new).set_index("path", drop=False)
    places = {str(row["path"]): position for position, row in enumerate(new)}
    for path, text in _look_alikes(table, known, params.validate_).items():
        found(places[path], "near_duplicates", text)
    for measure in MEASURES:
        if severity[measure] != "off":
            for path, text in _strange(table, measure, params.ingest.margin).items():
                verdicts[places[path]].reasons.append(text)
    return verdicts


def may_still_come(problem: str, files: Sequence[Path], params: Ingest) -> str:
    """Why files that cannot be decoded are left for the next time: one of them ends early and is fresh."""
    ends_early = any(word in problem for word in ("truncated", "empty", "is not JSON"))
    is_fresh = ends_early and min(age(path) for path in files) < params.truncated_minutes * 60
    return f"{problem}; it may still be on its way" if is_fresh else ""


def by_itself(row: Row, params: Validate) -> list[tuple[str, str]]:
    """Which checks an image fails that look at nothing else."""
    width, height, mask_area = int(row["width"]), int(row["height"]), int(row["mask_area"])
    mask_size = (int(row["mask_width"]), int(row["mask_height"]))
    masked, size = mask_size[0] > 0, f"{width}×{height}"
    checks = [
        ("size", min(width, height) < params.min_side, f"{size}: smaller than {params.min_side} pixels a side"),
        ("size", max(width, height) > params.max_side, f"{size}: larger than {params.max_side} pixels a side"),
        ("mode", row["mode"] not in params.modes, f"its mode {row['mode']} is not listed in params.yaml"),
        ("mask_missing", row["label"] == "defect" and not row["mask"], "has no mask"),
        (
            "mask_size",
            masked and mask_size != (width, height),
            f"its mask is {mask_size[0]}×{mask_size[1]} pixels, but the image is {size}",
        ),
        ("mask_empty", masked and mask_area == 0, "its mask marks nothing"),
        ("mask_binary", masked and int(row["mask_values"]) > 2, f"its mask has {row['mask_values']} grey values"),
    ]
    return [(check, text) for check, failed, text in checks if failed]


def _duplicates(new: Sequence[Row], known: Sequence[Row]) -> dict[int, str]:
    """Images that are there already, byte for byte, and those that came more than once; of these the first is taken.

    None is taken of an image that came under different names of product or defect: somebody must decide.
    """
    there: dict[str, Row] = {str(row["sha256"]): row for row in known if row["sha256"]}
    came: dict[str, list[int]] = {}
    for position, row in enumerate(new):
        came.setdefault(str(row["sha256"]), []).append(position)
    found: dict[int, str] = {}
    for sha256, positions in came.items():
        if sha256 in there:
            other = there[sha256]
            found |= {position: f"same image as {other['path']}{_as(new[position], other)}" for position in positions}
            continue
        contradictory = len({_label(new[position]) for position in positions}) > 1
        for position in positions if contradictory else positions[1:]:
            other = new[positions[0] if position != positions[0] else positions[1]]
            found[position] = f"same image as {other['path']}, which came with it{_as(new[position], other)}"
    return found


def _label(row: Mapping[str, object]) -> tuple[object, object]:
    return row["category"], row["defect"]


def _as(row: Row, other: Row) -> str:
    return "" if _label(row) == _label(other) else f", which is called {other['category']}, {other['defect']}"


def _look_alikes(new: "pd.DataFrame", known: Sequence[Row], params: Validate) -> dict[str, str]:
    """New images that look like one that is there, of the same category."""
    import pandas as pd

    there = as_table(known)
    there = there[there["category"].isin(set(new["category"]))]
    sides = pd.concat([new.assign(split="test"), there.assign(split="train")], ignore_index=True)
    near = near_duplicates(sides, params.near_duplicate_distance)
    texts = "looks like " + near["nearest"] + ", " + near["distance"].astype(str) + " bits apart"
    return dict(zip(near["path"], texts, strict=True))


def _strange(new: "pd.DataFrame", measure: str, margin: float) -> dict[str, str]:
    """Good images whose brightness or sharpness is far from that of the accepted images of their category."""
    if not REFERENCE.is_file():
        return {}
    accepted = read_json(REFERENCE)["accepted"]
    distance = outside(new, measure, accepted, margin)
    texts = {}
    for path, category, value in zip(new["path"], new["category"], new[measure], strict=True):
        if distance[path] > 0:
            low, high = accepted["categories"][category][measure]
            texts[str(path)] = f"its {measure} is {value:.1f}, that of the accepted images {low:.1f} to {high:.1f}"
    return texts
