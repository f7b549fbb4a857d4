"""The gate: may the challenger take the champion's place?"""

from dataclasses import dataclass, field

ROUNDING = 1e-9  # so that 0.95 - 0.93 is not more than 0.02


@dataclass(frozen=True)
class Scores:
    """The image AUROC of one model; None where it cannot be computed."""

    test_fingerprint: str
    mean: float | None
    categories: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """Whether the challenger becomes champion, and why."""

    promoted: bool
    reasons: list[str]


def decide(champion: Scores | None, challenger: Scores, mean_tolerance: float, category_tolerance: float) -> Decision:
    """Compare the challenger with the champion.

    Args:
        champion: The model in production, None if there is none.
        challenger: The new model.
        mean_tolerance: By how much the challenger's mean image AUROC may be lower.
        category_tolerance: The same for each single category.

    Returns:
        The decision. Its reasons carry the figures; if the champion is kept, each names something that spoke against.
    """
    if champion is None:
        return Decision(True, [f"there was no champion; mean image AUROC {_figure(challenger.mean)}"])
    if champion.test_fingerprint != challenger.test_fingerprint:
        return Decision(
            False,
            [
                f"the champion was measured on other test images (test fingerprint {champion.test_fingerprint}, "
                f"now {challenger.test_fingerprint}), so the two cannot be compared"
            ],
        )
    against = [_objection("mean image AUROC", champion.mean, challenger.mean, mean_tolerance)]
    for category, before in sorted(champion.categories.items()):
        if category in challenger.categories:
            now = challenger.categories[category]
            against.append(_objection(f"image AUROC of {category}", before, now, category_tolerance))
        else:
            against.append(f"category {category} is missing; the champion has image AUROC {_figure(before)} there")
    reasons = [objection for objection in against if objection]
    if reasons:
        return Decision(False, reasons)
    return Decision(
        True,
        [
            f"mean image AUROC {_figure(challenger.mean)} against {_figure(champion.mean)} of the champion "
            f"(tolerance {mean_tolerance:g})",
            f"no category is lower by more than {category_tolerance:g}",
        ],
    )


def _objection(what: str, before: float | None, now: float | None, tolerance: float) -> str:
    """What speaks against the challenger in one figure; empty if nothing does."""
    if before is None:
        return ""
    if now is None:
        return f"{what} cannot be computed; the champion has {_figure(before)}"
    drop = before - now
    if drop <= tolerance + ROUNDING:
        return ""
    return (
        f"{what} {_figure(now)} against {_figure(before)} of the champion: lower by {_figure(drop)}, "
        f"more than the tolerance {tolerance:g}"
    )


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
