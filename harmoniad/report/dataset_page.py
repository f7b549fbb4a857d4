"""What is in a data set and what is wrong with it, as one HTML file that needs nothing but itself."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.data.thumbnails import thumbnails
from harmoniad.data.validation import Outcome
from harmoniad.files import write_bytes
from harmoniad.report.dataset_plots import brightness_plot, image_sizes, size_plot
from harmoniad.report.text import one_line

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

MAX_CATEGORIES = 60  # that are shown with pictures and charts; all are in the table
PICTURES = 16  # a category
FLAGGED_PICTURES, FLAGGED_LINES = 12, 100  # a check


def write_dataset_page(
    path: Path,
    name: str,
    facts: Mapping[str, str],
    root: Path,
    manifest: "pd.DataFrame",
    names: Sequence[str],
    near: "pd.DataFrame",
    outcomes: Sequence[Outcome],
    stops: Sequence[str],
    notes: Sequence[str],
) -> None:
    """Write the page.

    Args:
        path: The file.
        name: Of the data set.
        facts: What the head of the page says beside the counts.
        root: The folder to which the paths in the manifest are relative.
        manifest: See `harmoniad.data.manifest`.
        names: Of the categories, also of those without an image.
        near: See `near_duplicates`.
        outcomes: Of all checks.
        stops: What would stop the pipeline, a line each.
        notes: What no check covers, a line each.

    Raises:
        HarmoniadError: The disk is full.
    """
    import jinja2

    categories = _categories(manifest, names, outcomes)
    chosen = {
        row["name"]: _choose(manifest[manifest["category"] == row["name"]]) for row in categories[:MAX_CATEGORIES]
    }
    findings = [_finding(outcome, manifest, near) for outcome in outcomes if not outcome.success]
    findings.sort(key=lambda finding: finding["severity"] != "error")
    shown = {picture["path"] for finding in findings for picture in finding["pictures"]}
    shown |= {picture["twin"] for finding in findings for picture in finding["pictures"] if picture["twin"]}
    shown |= {row["path"] for rows in chosen.values() for row in rows}
    files = thumbnails([root / file for file in sorted(shown)])
    readable = manifest[manifest["width"] > 0]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(line=one_line, number="{:,}".format, breakable=_breakable)
    page = environment.get_template("dataset.html").render(
        name=name,
        facts=facts,
        total=_counts(manifest),
        flagged=sum(row["flagged"] for row in categories),
        stops=stops,
        warnings=sum(finding["severity"] == "warning" for finding in findings),
        notes=notes,
        outcomes=outcomes,
        findings=findings,
        categories=categories,
        details=[_detail(category, rows, readable) for category, rows in chosen.items()],
        plots=_plots(readable),
        picture={file: files[root / file] for file in shown},
    )
    write_bytes(path, page.encode())


def _breakable(path: str) -> "Markup":
    """A path that a browser breaks behind a slash."""
    from markupsafe import Markup, escape

    return Markup("/<wbr>").join(map(escape, path.split("/")))


def _counts(rows: "pd.DataFrame") -> dict[str, int]:
    test, good = rows["split"] == "test", rows["label"] == "good"
    return {
        "images": len(rows),
        "train": int((rows["split"] == "train").sum()),
        "held_out": int((rows["split"] == "held_out").sum()),
        "test_good": int((test & good).sum()),
        "test_defect": int((test & ~good).sum()),
        "defects": int((~good).sum()),
        "masks": int((rows["mask"] != "").sum()),
    }


def _categories(manifest: "pd.DataFrame", names: Sequence[str], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    flagged = manifest["path"].isin({path for outcome in outcomes for path in outcome.failures})
    tables = [(name, manifest[manifest["category"] == name]) for name in sorted(names)]
    return [
        {
            "name": name,
            **_counts(rows),
            "flagged": int(flagged[rows.index].sum()),
            "sizes": _sizes(rows[rows["width"] > 0]),
            "modes": ", ".join(sorted(set(rows["mode"]) - {""})) or "–",
        }
        for name, rows in tables
    ]


def _sizes(readable: "pd.DataFrame") -> str:
    if readable.empty:
        return "–"
    sizes = image_sizes(readable).unique()
    if len(sizes) <= 2:
        return ", ".join(sizes)
    low, high = readable[["width", "height"]].min(), readable[["width", "height"]].max()
    return f"{low['width']}×{low['height']} to {high['width']}×{high['height']}"


def _choose(rows: "pd.DataFrame") -> list[dict[str, str]]:
    """A few images of a category: defects of every kind in turn, then good ones, evenly spread over the names."""
    readable = rows[rows["width"] > 0]
    good, bad = readable[readable["label"] == "good"], readable[readable["label"] == "defect"]
    kinds = [_spread(kind, PICTURES) for _, kind in bad.groupby("defect", sort=True)]
    in_turn = [row for row in chain.from_iterable(zip_longest(*kinds)) if row is not None]
    some_good = _spread(good, max(PICTURES - len(in_turn), PICTURES // 3))
    return some_good + in_turn[: PICTURES - len(some_good)]


def _spread(rows: "pd.DataFrame", count: int) -> list[dict[str, str]]:
    """At most `count` rows, evenly spread."""
    step = max(1, -(-len(rows) // count))
    columns = ["path", "split", "label", "defect"]
    return [dict(zip(columns, row, strict=True)) for row in rows[columns].iloc[::step].itertuples(index=False)]


def _finding(outcome: Outcome, manifest: "pd.DataFrame", near: "pd.DataFrame") -> dict[str, Any]:
    readable = set(manifest.loc[manifest["width"] > 0, "path"])
    twins = dict(zip(near["path"], near["nearest"], strict=True)) if outcome.name == "near_duplicates" else {}
    lines = list(outcome.failures.items())
    pictures = [
        {"path": path, "reason": reason, "twin": twins.get(path, "")} for path, reason in lines if path in readable
    ]
    return {
        "name": outcome.name,
        "severity": outcome.severity,
        "meaning": outcome.meaning,
        "count": len(lines),
        "unit": ("category", "categories") if outcome.name == "min_train_images" else ("file", "files"),
        "lines": lines[:FLAGGED_LINES],
        "pictures": pictures[:FLAGGED_PICTURES],
    }


def _detail(category: str, rows: list[dict[str, str]], readable: "pd.DataFrame") -> dict[str, Any]:
    images = readable[readable["category"] == category]
    kinds = Counter(images.loc[images["label"] == "defect", "defect"])
    return {"name": category, "images": rows, "kinds": sorted(kinds.items()), "plots": _plots(images)}


def _plots(images: "pd.DataFrame") -> dict[str, str]:
    return {} if images.empty else {"Brightness": brightness_plot(images), "Image size": size_plot(images)}
