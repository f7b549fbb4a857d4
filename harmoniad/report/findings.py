"""What deserves attention, in sentences, so that nobody has to find it in the tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from harmoniad.report.rates import Rate
from harmoniad.report.text import one_line

FEW_PARTS = 30  # below, a rate of a category is known to within some ten per cent at best


def against_tolerated(rate: Rate, tolerated: float) -> str:
    """How a rate of false alarms compares with the tolerated one, as far as so many parts can tell."""
    if rate.low > tolerated:
        return "more than tolerated"
    if rate.high <= tolerated:
        return "no more than tolerated"
    return "in line with what is tolerated"


def findings(
    categories: Sequence[Mapping[str, Any]],
    kinds: Sequence[tuple[str, str, Rate]],
    areas: Sequence[tuple[str, Rate]],
    tolerated: float,
    few_held_out: int,
) -> list[tuple[str, str]]:
    """What deserves attention.

    Args:
        categories: With `name`, `recall`, `false_alarms` and `held_out`.
        kinds: See `rates.by_kind`.
        areas: See `rates.by_area`.
        tolerated: The tolerated share of false alarms.
        few_held_out: From how many held-out images on a threshold is more than an estimate.

    Returns:
        A title and a sentence each, the most urgent first.
    """
    return [*_missed(kinds, areas), *_alarms(categories, tolerated), *_little_data(categories, few_held_out)]


def _missed(kinds: Sequence[tuple[str, str, Rate]], areas: Sequence[tuple[str, Rate]]) -> list[tuple[str, str]]:
    if not kinds:
        return [("No defective parts", "The test holds none, so nobody knows how many this model would miss.")]
    weak = [kind for kind in kinds if kind[2].count < kind[2].total][:3]
    if not weak:
        return []
    names = "; ".join(
        f"“{one_line(defect)}” on {one_line(category)}, {rate.total - rate.count} of {rate.total} missed"
        for category, defect, rate in weak
    )
    found = [("Defects that are missed most", f"{names}.")]
    name, rate = min(areas, key=lambda area: area[1].share, default=("", None))
    if rate and rate.count < rate.total and len(areas) > 1:
        missed = f"{rate.total - rate.count} of {rate.total} missed"
        found.append(("Size of defect that is missed most", f"Marked area {name} of the image: {missed}."))
    return found


def _alarms(categories: Sequence[Mapping[str, Any]], tolerated: float) -> list[tuple[str, str]]:
    rates = [(one_line(row["name"]), row["false_alarms"]) for row in categories if row["false_alarms"]]
    many = [
        f"{name}, {rate.count} of {rate.total} good parts"
        for name, rate in sorted(rates, key=lambda pair: -pair[1].share)
        if rate.low > tolerated
    ]
    if not many:
        return []
    return [
        ("More false alarms than tolerated", f"{'; '.join(many)}. Good parts of today may differ from those learned.")
    ]


def _little_data(categories: Sequence[Mapping[str, Any]], few_held_out: int) -> list[tuple[str, str]]:
    found = []
    rough = [one_line(row["name"]) for row in categories if row["held_out"] < few_held_out]
    if rough:
        sentence = (
            f"{_listed(rough, len(categories))}: the threshold rests on fewer than {few_held_out} good images held out "
            "for it, so it is an estimate. More good training images make it firm."
        )
        found.append(("Thresholds from few images", sentence))
    few = [
        one_line(row["name"])
        for row in categories
        if min(rate.total if rate else 0 for rate in (row["recall"], row["false_alarms"])) < FEW_PARTS
    ]
    if few:
        sentence = (
            f"{_listed(few, len(categories))}: fewer than {FEW_PARTS} good or defective test parts, so the figures of "
            "a single category are rough. The ranges in brackets say how rough."
        )
        found.append(("Few test parts", sentence))
    return found


def _listed(names: Sequence[str], total: int) -> str:
    """Some names, in full as long as they are few."""
    if len(names) == total:
        return "All categories" if total > 1 else names[0]
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:5])} and {len(names) - 5} more"
