"""The gate: may the challenger take the champion's place? Pure: figures in, a decision with its reasons out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from harmoniad.metrics.intervals import Estimate
from harmoniad.params import Gate

ROUNDING = 1e-9  # so that 0.95 - 0.93 is not more than 0.02

Side = Literal["for", "against", "neither"]


@dataclass(frozen=True)
class Figures:
    """What one model does on the current images; None where a figure cannot be computed.

    All but `categories` are taken over the categories that both models were trained on.

    Attributes:
        image_auroc: Mean image AUROC.
        categories: Image AUROC of each category that the model was trained on and that has test images.
        trained_on: All the categories that the model was trained on.
        recall: Mean recall where `evaluate.false_positive_rate` of the good test images are flagged.
        balanced_accuracy: Mean balanced accuracy at the model's own thresholds.
        held_out_share: Share of all held-out good images that lie above the model's own thresholds.
        latency_ms: Milliseconds an image, from file to verdict.
    """

    image_auroc: float | None
    categories: dict[str, float | None] = field(default_factory=dict)
    trained_on: frozenset[str] = frozenset()
    recall: float | None = None
    balanced_accuracy: float | None = None
    held_out_share: float | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Check:
    """One line of the gate's table.

    Attributes:
        name: What was compared.
        champion: Its figure.
        challenger: Its figure.
        rule: What is asked of the challenger.
        side: Whether it speaks for the challenger or against it.
        reason: The same in a sentence, with the figures; empty where it speaks for neither.
    """

    name: str
    champion: float | None
    challenger: float | None
    rule: str
    side: Side = "neither"
    reason: str = ""


@dataclass(frozen=True)
class Decision:
    """Whether the challenger becomes champion, why, and all that was looked at."""

    promoted: bool
    reasons: list[str]
    checks: list[Check] = field(default_factory=list)


def decide(
    champion: Figures | None,
    challenger: Figures,
    difference: Estimate | None,
    rules: Gate,
    false_positive_rate: float,
) -> Decision:
    """Decide between two models that were measured on the same images.

    The challenger must win by something and must not lose anything; a tie keeps the champion. It wins by a mean image
    AUROC that is higher beyond chance, by a category that the champion was not trained on, or by thresholds that let
    good parts pass where the champion's flag too many.

    Args:
        champion: The model in production, None if there is none.
        challenger: The new model.
        difference: Of the mean image AUROC, challenger minus champion; None where it cannot be computed.
        rules: The section `gate` of `params.yaml`.
        false_positive_rate: The share of good parts that may be flagged.

    Returns:
        The decision. All that speaks against the challenger is among the reasons, or else all that speaks for it.
    """
    checks = list(_checks(champion, challenger, difference, rules, false_positive_rate))
    against = [check.reason for check in checks if check.side == "against"]
    if against:
        return Decision(False, against, checks)
    if champion is None:
        return Decision(True, [f"there was no champion; mean image AUROC {_figure(challenger.image_auroc)}"], checks)
    in_favour = [check.reason for check in checks if check.side == "for"]
    if in_favour:
        return Decision(True, in_favour, checks)
    return Decision(False, [_tie(champion, challenger, difference, rules)], checks)


def _checks(
    champion: Figures | None, challenger: Figures, difference: Estimate | None, rules: Gate, rate: float
) -> Iterator[Check]:
    if champion is not None:
        yield _mean(champion, challenger, difference, rules)
        yield from _not_lower("recall at the same false positive rate", "recall", champion, challenger, rules)
        yield from _not_lower("balanced accuracy", "balanced_accuracy", champion, challenger, rules)
    yield _calibration(champion, challenger, rules, rate)
    yield _latency(champion, challenger, rules)
    known = champion.trained_on if champion else frozenset()
    for category in sorted(known - challenger.trained_on):
        before = champion.categories.get(category) if champion else None
        reason = f"the champion was trained on category {category}, the challenger was not"
        yield Check(f"category {category}", before, None, "must be trained on, too", "against", reason)
    for category in sorted(challenger.trained_on):
        now = challenger.categories.get(category)
        if champion is None or category not in known:
            yield _new_category(category, now, champion, rules)
        else:
            yield _category(category, champion.categories.get(category), now, rules)


def _mean(champion: Figures, challenger: Figures, difference: Estimate | None, rules: Gate) -> Check:
    name, before, now = "mean image AUROC", champion.image_auroc, challenger.image_auroc
    rule = f"at most {rules.mean_tolerance:g} lower; higher beyond chance wins"
    objection = _objection(name, before, now, rules.mean_tolerance)
    if objection:
        return Check(name, before, now, rule, "against", objection)
    if difference is not None and difference.low > ROUNDING:
        reason = f"{name} {_figure(now)} against {_figure(before)} of the champion: {_interval(difference, rules)}"
        return Check(name, before, now, rule, "for", reason)
    return Check(name, before, now, rule)


def _not_lower(name: str, key: str, champion: Figures, challenger: Figures, rules: Gate) -> Iterator[Check]:
    before, now, tolerance = getattr(champion, key), getattr(challenger, key), getattr(rules, f"{key}_tolerance")
    objection = _objection(name, before, now, tolerance)
    yield Check(name, before, now, f"at most {tolerance:g} lower", "against" if objection else "neither", objection)


def _calibration(champion: Figures | None, challenger: Figures, rules: Gate, rate: float) -> Check:
    name, limit = "held-out good images above the threshold", rate + rules.calibration_tolerance
    before, now = champion.held_out_share if champion else None, challenger.held_out_share
    rule = f"at most {_figure(limit)}"
    if now is not None and now > limit + ROUNDING:
        reason = f"{_figure(now)} of the held-out good images lie above the threshold, more than {_figure(limit)}"
        return Check(name, before, now, rule, "against", reason)
    if before is not None and now is not None and before > limit + ROUNDING:
        reason = (
            f"the champion flags {_figure(before)} of the held-out good images, more than {_figure(limit)}; "
            f"the challenger {_figure(now)}"
        )
        return Check(name, before, now, rule, "for", reason)
    return Check(name, before, now, rule)


def _latency(champion: Figures | None, challenger: Figures, rules: Gate) -> Check:
    name, now = "latency in ms an image", challenger.latency_ms
    before, budget = champion.latency_ms if champion else None, rules.latency_ms
    if not budget:
        return Check(name, before, now, "no limit")
    rule = f"at most {budget:g}"
    if now is None:
        return Check(name, before, now, rule, "against", "the latency was not measured. Run `dvc repro -f evaluate`")
    if now > budget:
        reason = f"an image takes {now:.1f} ms from file to verdict, more than the budget of {budget:g} ms"
        return Check(name, before, now, rule, "against", reason)
    return Check(name, before, now, rule)


def _new_category(category: str, now: float | None, champion: Figures | None, rules: Gate) -> Check:
    name = f"image AUROC of {category}"
    objection = _below_floor(name, None, now, rules.category_floor)
    if objection:
        return Check(name, None, now, _floor_rule(rules), "against", objection)
    if champion is None:
        return Check(name, None, now, _floor_rule(rules))
    reason = f"the champion was not trained on category {category}; image AUROC {_figure(now)} there"
    return Check(name, None, now, "a new category wins", "for", reason)


def _category(category: str, before: float | None, now: float | None, rules: Gate) -> Check:
    name = f"image AUROC of {category}"
    objection = _objection(name, before, now, rules.category_tolerance) or _below_floor(
        name, before, now, rules.category_floor
    )
    rule = f"at most {rules.category_tolerance:g} lower" + (
        f", not below {rules.category_floor:g}" if rules.category_floor else ""
    )
    return Check(name, before, now, rule, "against" if objection else "neither", objection)


def _floor_rule(rules: Gate) -> str:
    return f"not below {rules.category_floor:g}" if rules.category_floor else "no limit"


def _below_floor(what: str, before: float | None, now: float | None, floor: float) -> str:
    """What speaks against a category below the floor; nothing if the champion is no better there."""
    if now is None or now >= floor - ROUNDING or (before is not None and before <= now + ROUNDING):
        return ""
    return f"{what} {_figure(now)} is below the floor {floor:g}"


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


def _tie(champion: Figures, challenger: Figures, difference: Estimate | None, rules: Gate) -> str:
    figures = f"mean image AUROC {_figure(challenger.image_auroc)} against {_figure(champion.image_auroc)}"
    interval = f", {_interval(difference, rules)}" if difference else ""
    return f"no better than the champion beyond chance, and a tie keeps it: {figures}{interval}"


def _interval(difference: Estimate, rules: Gate) -> str:
    return (
        f"difference {difference.estimate:+.4f}, {100 * rules.confidence:g} % interval "
        f"{difference.low:+.4f} to {difference.high:+.4f}"
    )


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
