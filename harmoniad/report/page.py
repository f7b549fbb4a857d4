"""The evaluation as one HTML file that needs nothing but itself, for a plant network without internet."""

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.errors import HarmoniadError
from harmoniad.files import write_bytes
from harmoniad.report.heatmap import CAPTION_HEIGHT, STOPS
from harmoniad.report.plots import Distribution, distributions
from harmoniad.report.samples import FALSE_ALARM, MISSED, OUTCOMES, outcomes
from harmoniad.report.tables import METRICS, figure
from harmoniad.report.text import one_line

if TYPE_CHECKING:
    import pandas as pd

SHRINK = 0.8  # the same for all, so that all keep the same scale
MAX_PICTURES = 7_000_000  # bytes of pictures in the page; the rest stays in the folder of heat maps


@dataclass(frozen=True)
class Picture:
    """A heat map as it stands in the page: JPEG in base64 and its size in pixels."""

    data: str
    width: int
    height: int


def write_report(
    path: Path,
    metrics: Mapping[str, Any],
    threshold: Mapping[str, Any],
    scores: "pd.DataFrame",
    project: Path = Path(),
) -> None:
    """Write the report.

    Args:
        path: Usually `results/evaluate/report.html`.
        metrics: The content of `results/evaluate/metrics.json`.
        threshold: The content of `results/evaluate/threshold.json`.
        scores: With the columns of `results/evaluate/scores.csv`; the heat maps that it names are shown.
        project: The folder to which the paths in `scores` are relative.

    Raises:
        HarmoniadError: A heat map is missing or cannot be read, or the disk is full.
    """
    import jinja2

    test = scores[scores["split"] == "test"]
    test = test.assign(outcome=outcomes(test))
    gallery = _gallery(test, project)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(figure=figure, percent=_percent, line=one_line)
    page = environment.get_template("page.html").render(
        metrics=metrics,
        metric_names=METRICS,
        tolerated=threshold["false_positive_rate"],
        total=_counts(test),
        verdicts=_verdicts(test, threshold),
        kinds=_kinds(test),
        # With fewer held-out images not one of them may lie above the threshold, so it is their highest score.
        few_held_out=math.ceil(1 / threshold["false_positive_rate"]),
        charts=[_chart(distribution) for distribution in distributions(scores)],
        gallery=gallery,
        key=_key(),
    )
    write_bytes(path, page.encode())


def _counts(rows: "pd.DataFrame") -> dict[str, int]:
    """How many images came to each outcome, by one word each."""
    counts = rows["outcome"].value_counts()
    missed, alarms, found, passed = (int(counts.get(name, 0)) for name in OUTCOMES)
    return {
        "defects": found + missed,
        "found": found,
        "missed": missed,
        "good": passed + alarms,
        "passed": passed,
        "alarms": alarms,
    }


def _verdicts(test: "pd.DataFrame", threshold: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the stored threshold does to each category."""
    return [
        {
            "category": category,
            "threshold": float(rows["threshold"].iloc[0]),
            "held_out": threshold["held_out_images"].get(category),
            **_counts(rows),
        }
        for category, rows in test.groupby("category", sort=True)
    ]


def _kinds(test: "pd.DataFrame") -> list[dict[str, Any]]:
    """How many defects of each kind are found, the kind that is found least first."""
    defects = test[test["label"] == "defect"]
    kinds = [
        {"category": category, "defect": defect, **_counts(rows)}
        for (category, defect), rows in defects.groupby(["category", "defect"], sort=True)
    ]
    return sorted(kinds, key=lambda kind: kind["found"] / kind["defects"])


def _chart(distribution: Distribution) -> dict[str, Any]:
    """A distribution as bars in a box of 300 by 120: good images above the line at 60, defects below it."""
    edges, threshold = distribution.edges, distribution.threshold
    to_x = 300 / (edges[-1] - edges[0])
    to_y = 52 / max(distribution.good.max(), distribution.defect.max(), 1e-12)
    shares = zip(edges, distribution.good * to_y, distribution.defect * to_y, strict=False)
    return {
        "category": distribution.category,
        "threshold": threshold,
        "threshold_x": (threshold - edges[0]) * to_x,
        "lowest": edges[0],
        "highest": edges[-1],
        "width": (edges[1] - edges[0]) * to_x,
        "bars": [((edge - edges[0]) * to_x, good, defect) for edge, good, defect in shares if good or defect],
    }


def _gallery(test: "pd.DataFrame", project: Path) -> list[dict[str, Any]]:
    """The heat maps of each category, the most instructive outcome first, as many as the page can bear."""
    rows = test[test["heatmap"].fillna("") != ""]
    rows = rows.assign(
        rank=rows["outcome"].map(OUTCOMES.index),
        wrong=rows["outcome"].isin([MISSED, FALSE_ALARM]),
        # Of missed and found defects the weakest first, of good parts the strongest first.
        order=rows["score"].where(rows["label"] == "defect", -rows["score"]),
    ).sort_values(["category", "rank", "order", "path"])
    # Taken in turn, so that every category shows its best before any shows the rest.
    rows = rows.assign(turn=rows.groupby("category").cumcount()).sort_values(["turn", "category"], kind="stable")
    pictures = _as_many_as_fit([project / name for name in rows["heatmap"]])
    groups: dict[str, dict[str, Any]] = {
        category: {"category": category, "shown": [], "left_out": 0} for category in sorted(set(rows["category"]))
    }
    for row, picture in zip_longest(rows.to_dict("records"), pictures):
        group = groups[row["category"]]
        if picture is None:
            group["left_out"] += 1
        else:
            group["shown"].append({**row, "picture": picture})
    return list(groups.values())


def _as_many_as_fit(paths: list[Path]) -> list[Picture]:
    """The first heat maps, up to the size that the page can bear."""
    pictures: list[Picture] = []
    room = MAX_PICTURES
    for path in paths:
        picture = _jpeg(path)
        room -= len(picture.data)
        if room < 0:
            break
        pictures.append(picture)
    return pictures


def _jpeg(path: Path) -> Picture:
    """A heat map without its caption, which the page says in words, as JPEG in base64."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (OSError, ValueError) as error:
        raise HarmoniadError(f"{path}: this heat map is missing or broken. Run `dvc repro -f evaluate`.") from error
    picture = picture.crop((0, 0, picture.width, max(1, picture.height - CAPTION_HEIGHT)))
    picture = picture.resize((round(picture.width * SHRINK), round(picture.height * SHRINK)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=80, optimize=True)
    return Picture(base64.b64encode(buffer.getvalue()).decode(), picture.width, picture.height)


def _key() -> str:
    """The colour scale as stops of a CSS gradient."""
    last = STOPS[-1][0]
    return ", ".join(
        f"rgb({red} {green} {blue} / {opacity:.2f}) {100 * place / last:.0f}%"
        for place, (red, green, blue), opacity in STOPS
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
