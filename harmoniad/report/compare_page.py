"""Two versions side by side, in a terminal and as one HTML file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.files import write_bytes
from harmoniad.params import Gate, Params
from harmoniad.report.gallery import Group, Panel
from harmoniad.report.heatmap import ANOMALY_MAP
from harmoniad.report.page import template
from harmoniad.report.text import columns, one_line, padded

if TYPE_CHECKING:
    from harmoniad.tracking.compare import Comparison

Row = tuple[str, float | None, float | None]


def comparison_table(comparison: "Comparison", rules: Gate) -> str:
    """A row a figure with both versions side by side, then how many verdicts changed in each way."""
    heads = ("", *comparison.names, "change")
    body = [(one_line(name), _figure(a), _figure(b), _change(a, b)) for name, a, b in rows_of(comparison)]
    lines = _aligned([heads, *body])
    lines.append("")
    lines.append(_interval(comparison, rules))
    counts = change_counts(comparison)
    changed = "".join(f"; {name}: {count}" for name, count in counts.items())
    lines.append(f"{sum(counts.values())} of {comparison.test_images} verdicts changed{changed}")
    lines += [one_line(line) for line in only_one_knows(comparison)]
    return "\n".join(lines)


def write_page(path: Path, comparison: "Comparison", panels: Mapping[str, Sequence[Panel]], params: Params) -> None:
    """Write the page.

    Args:
        path: Where it goes.
        comparison: What both versions do.
        panels: Of the images that are shown, by path: the part, both heat maps, and the marked defect if there is one.
        params: With the gate's rules.

    Raises:
        HarmoniadError: The disk is full.
    """
    page = template("compare.html").render(
        comparison=comparison,
        rows=[(name, _figure(a), _figure(b), _change(a, b)) for name, a, b in rows_of(comparison)],
        interval=_interval(comparison, params.gate),
        counts=change_counts(comparison),
        alone=only_one_knows(comparison),
        groups=_groups(comparison, panels),
        panel_names=_panel_names(comparison),
    )
    write_bytes(path, page.encode())


def rows_of(comparison: "Comparison") -> list[Row]:
    """The figures of both, by name."""
    first, second = comparison.figures
    whole: list[Row] = [
        ("mean image AUROC", first.image_auroc, second.image_auroc),
        ("recall at the same false positive rate", first.recall, second.recall),
        ("balanced accuracy at the own thresholds", first.balanced_accuracy, second.balanced_accuracy),
        ("held-out good images above the threshold", first.held_out_share, second.held_out_share),
        ("latency in ms an image", first.latency_ms, second.latency_ms),
    ]
    areas = [
        (f"image AUROC of {name}", first.categories.get(name), second.categories.get(name))
        for name in comparison.shared
    ]
    return whole + areas


def change_counts(comparison: "Comparison") -> dict[str, int]:
    """How many verdicts changed in each way; only ways that occur."""
    from harmoniad.tracking.compare import CHANGES

    counts = comparison.changed["change"].value_counts().to_dict()
    return {change: int(counts[change]) for change in CHANGES if change in counts}


def only_one_knows(comparison: "Comparison") -> list[str]:
    """A line for each version that knows categories which the other one does not."""
    return [
        f"Only {name} was trained on: {', '.join(categories)}"
        for name, categories in zip(comparison.names, comparison.alone, strict=True)
        if categories
    ]


def _interval(comparison: "Comparison", rules: Gate) -> str:
    difference = comparison.difference
    if difference is None:
        return "The mean image AUROC cannot be computed: no category has good and defective test images."
    beyond = "beyond chance" if difference.low > 0 or difference.high < 0 else "no more than chance may do"
    return (
        f"Difference in mean image AUROC: {difference.estimate:+.4f}, {100 * rules.confidence:g} % interval "
        f"{difference.low:+.4f} to {difference.high:+.4f}: {beyond}."
    )


def _groups(comparison: "Comparison", panels: Mapping[str, Sequence[Panel]]) -> list[Group]:
    from harmoniad.tracking.compare import CHANGES

    groups = []
    for change in CHANGES:
        rows: list[dict[Any, Any]] = comparison.changed[comparison.changed["change"] == change].to_dict("records")
        shown = [{**row, "panels": _renamed(panels[row["path"]])} for row in rows if row["path"] in panels]
        if shown:
            groups.append(Group(change, shown, len(rows)))
    return groups


def _renamed(panels: Sequence[Panel]) -> list[Panel]:
    """Both heat maps have the same name; in the page they are told apart."""
    image, first, second, *rest = panels
    maps = [Panel(f"{ANOMALY_MAP} {n}", each.data, each.width, each.height) for n, each in ((1, first), (2, second))]
    return [image, *maps, *rest]


def _panel_names(comparison: "Comparison") -> dict[str, str]:
    names = {f"{ANOMALY_MAP} {n}": f"heat map, {name}" for n, name in enumerate(comparison.names, 1)}
    return {"image": "part", **names, "marked defect": "marked defect (mask)"}


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if value <= 1 else f"{value:.1f}"


def _change(first: float | None, second: float | None) -> str:
    if first is None or second is None:
        return ""
    return f"{second - first:+.4f}" if max(first, second) <= 1 else f"{second - first:+.1f}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(columns(line[place]) for line in lines) for place in range(len(lines[0]))]
    return [
        "  ".join(
            padded(cell, width) if place == 0 else " " * (width - columns(cell)) + cell
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
