"""The evaluation as one HTML file that needs nothing but itself, for a plant network without internet."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.files import write_bytes
from harmoniad.report.charts import DEFECT, GOOD, curve_chart, score_chart, styles
from harmoniad.report.findings import against_tolerated, findings
from harmoniad.report.gallery import Panel, group_images
from harmoniad.report.heatmap import STOPS
from harmoniad.report.plots import distributions, precision_recall_curves, roc_curves
from harmoniad.report.rates import by_area, by_kind, false_alarms, recall
from harmoniad.report.tables import METRICS, figure
from harmoniad.report.text import one_line

if TYPE_CHECKING:
    import jinja2
    import pandas as pd

MORE_METRICS = {
    "aupro_05": "AUPRO to 5 %",
    "aupimo": "AUPIMO",
    "spro": "sPRO",
    "spro_logical": "sPRO logical",
    "spro_structural": "sPRO structural",
    "balanced_accuracy": "balanced accuracy",
}
"""What else `results/evaluate/metrics.json` may hold and a reader may compare."""

TEMPLATES = Path(__file__).with_name("templates")


def write_report(
    path: Path,
    metrics: Mapping[str, Any],
    threshold: Mapping[str, Any],
    scores: "pd.DataFrame",
    pro: "pd.DataFrame",
    panels: Mapping[int, Sequence[Panel]],
) -> None:
    """Write the report.

    All verdicts in it are read from the raw scores and the stored thresholds.

    Args:
        path: Usually `results/evaluate/report.html`.
        metrics: The content of `results/evaluate/metrics.json`.
        threshold: The content of `results/evaluate/threshold.json`.
        scores: With the columns of `results/evaluate/scores.csv`.
        pro: With the columns of `results/evaluate/plots/pro.csv`.
        panels: The pictures of the gallery, by the position of their image among `scores`.

    Raises:
        HarmoniadError: The disk is full.
    """
    test = scores[scores["split"] == "test"]
    categories = [_category(str(name), rows, metrics, threshold) for name, rows in test.groupby("category", sort=True)]
    total = {"recall": recall(test), "false_alarms": false_alarms(test), "images": len(test)}
    kinds, areas = by_kind(test), by_area(test)
    page = template("report.html").render(
        metrics=metrics,
        metric_names=METRICS | {key: name for key, name in MORE_METRICS.items() if key in metrics["mean"]},
        tolerated=threshold["false_positive_rate"],
        # Fewer held-out images cannot show the tolerated rate, so the threshold is an estimate from few.
        few_held_out=few_held_out(threshold),
        total=total,
        categories=categories,
        kinds=kinds,
        areas=areas,
        findings=findings(categories, kinds, areas, threshold["false_positive_rate"], few_held_out(threshold)),
        curves=_curves(test, metrics, categories, pro),
        scores=[(chart.category, score_chart(chart)) for chart in distributions(scores)],
        colours={"good": GOOD, "defect": DEFECT},
        groups=group_images(scores, threshold["normal_level"], panels),
    )
    write_bytes(path, page.encode())


def few_held_out(threshold: Mapping[str, Any]) -> int:
    """From how many held-out images on a category's threshold is more than an estimate."""
    return math.ceil(1 / threshold["false_positive_rate"])


@lru_cache(maxsize=1)
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = (TEMPLATES / "script.js").read_text(encoding="utf-8")
    environment.filters.update(figure=figure, line=one_line, number=_four_digits, against=against_tolerated)
    environment.globals.update(
        style=_trusted("style.css"),
        script=_trusted("script.js"),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        colour_scale=colour_scale(),
    )
    return environment


def template(name: str) -> "jinja2.Template":
    """A template of the package; all that is put into it is escaped."""
    return _environment().get_template(name)


def _trusted(name: str) -> Any:
    from markupsafe import Markup

    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def colour_scale() -> str:
    """The colour scale of the heat maps as stops of a CSS gradient."""
    last = STOPS[-1][0]
    return ", ".join(
        f"rgb({red} {green} {blue} / {opacity:.2f}) {100 * place / last:.0f}%"
        for place, (red, green, blue), opacity in STOPS
    )


def _four_digits(value: float) -> str:
    return f"{value:#.4g}".rstrip(".")


def _category(
    name: str, rows: "pd.DataFrame", metrics: Mapping[str, Any], threshold: Mapping[str, Any]
) -> dict[str, Any]:
    """A row of the table: what was counted, and how sure it is."""
    return {
        "name": name,
        "threshold": float(rows["threshold"].iloc[0]),
        "held_out": threshold["held_out_images"].get(name, 0),
        "recall": recall(rows),
        "false_alarms": false_alarms(rows),
        "figures": metrics["categories"][name],
    }


def _curves(
    test: "pd.DataFrame", metrics: Mapping[str, Any], categories: Sequence[Mapping[str, Any]], pro: "pd.DataFrame"
) -> dict[str, Any] | None:
    """The three charts and the categories in them, None without a category that has good parts as well as defects."""
    roc, precision = roc_curves(test), precision_recall_curves(test)
    names = set(roc["category"]) | set(pro["category"])
    if not names:
        return None
    figures = metrics["categories"]
    weakest_first = sorted(names, key=lambda name: (figures[name]["image_auroc"] or 0, name))
    drawn = styles(weakest_first)
    working = {row["name"]: _working_point(row) for row in categories if row["recall"] and row["false_alarms"]}
    return {
        "styles": drawn,
        "roc": curve_chart(
            roc,
            drawn,
            ("good parts flagged", "defective parts found"),
            points={name: (alarms, found) for name, (alarms, found, _) in working.items()},
        ),
        "precision": curve_chart(
            precision,
            drawn,
            ("defective parts found", "of the flagged, defective"),
            points={name: (found, right) for name, (_, found, right) in working.items() if right is not None},
        ),
        "pro": curve_chart(pro, drawn, ("good pixels coloured", "defect area covered"), limit=_end(pro)),
    }


def _end(pro: "pd.DataFrame") -> float:
    return float(pro["false_positive_rate"].max()) if len(pro) else 1.0


def _working_point(row: Mapping[str, Any]) -> tuple[float, float, float | None]:
    """False alarm rate, recall and precision at the stored threshold."""
    flagged = row["recall"].count + row["false_alarms"].count
    return row["false_alarms"].share, row["recall"].share, row["recall"].count / flagged if flagged else None
