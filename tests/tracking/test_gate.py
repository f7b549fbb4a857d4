from dataclasses import replace
from typing import Any

import pytest

from harmoniad.metrics.intervals import Estimate
from harmoniad.params import Gate
from harmoniad.tracking.gate import Check, Decision, Figures, decide

BOTH = frozenset({"bolt", "nut"})
CHAMPION = Figures(0.95, {"bolt": 0.97, "nut": 0.93}, BOTH, 0.80, 0.90, 0.04, 20.0)
RULES = Gate(mean_tolerance=0.002, category_tolerance=0.02)
BETTER, NOISE = Estimate(0.01, 0.004, 0.016), Estimate(0.01, -0.002, 0.02)
WON = "mean image AUROC 0.9600 against 0.9500 of the champion: difference +0.0100, 95 % interval +0.0040 to +0.0160"


def judge(
    difference: Estimate | None = BETTER, champion: Figures | None = CHAMPION, rules: Gate = RULES, **changes: Any
) -> Decision:
    """Judge a challenger that is better by 0.01 everywhere and otherwise as the champion, but for the changes."""
    base = Figures(0.96, {"bolt": 0.98, "nut": 0.94}, BOTH, 0.80, 0.90, 0.04, 20.0)
    return decide(champion, replace(base, **changes), difference, rules, 0.05)


def test_first_model_is_promoted() -> None:
    decision = judge(None, champion=None, image_auroc=0.4)
    assert (decision.promoted, decision.reasons) == (True, ["there was no champion; mean image AUROC 0.4000"])


def test_first_model_without_a_figure_is_promoted() -> None:
    decision = decide(None, Figures(None), None, RULES, 0.05)
    assert (decision.promoted, decision.reasons) == (True, ["there was no champion; mean image AUROC unknown"])


def test_better_model_is_promoted_with_the_figures() -> None:
    decision = judge()
    assert (decision.promoted, decision.reasons) == (True, [WON])


def test_table_holds_all_that_was_looked_at() -> None:
    mean, recall, accuracy, calibration, latency, bolt, nut = judge().checks
    assert mean == Check("mean image AUROC", 0.95, 0.96, "at most 0.002 lower; higher beyond chance wins", "for", WON)
    assert recall == Check("recall at the same false positive rate", 0.8, 0.8, "at most 0.03 lower")
    assert accuracy == Check("balanced accuracy", 0.9, 0.9, "at most 0.05 lower")
    assert calibration == Check("held-out good images above the threshold", 0.04, 0.04, "at most 0.1000")
    assert latency == Check("latency in ms an image", 20, 20, "no limit")
    assert bolt == Check("image AUROC of bolt", 0.97, 0.98, "at most 0.02 lower")
    assert nut == Check("image AUROC of nut", 0.93, 0.94, "at most 0.02 lower")


def test_tie_keeps_the_champion() -> None:
    same = {"image_auroc": 0.95, "categories": CHAMPION.categories}
    assert judge(Estimate(0, 0, 0), **same).reasons == [
        "no better than the champion beyond chance, and a tie keeps it: mean image AUROC 0.9500 against 0.9500, "
        "difference +0.0000, 95 % interval +0.0000 to +0.0000"
    ]


def test_difference_that_may_be_chance_keeps_the_champion() -> None:
    decision = judge(NOISE)
    assert not decision.promoted
    assert decision.reasons[0].endswith("difference +0.0100, 95 % interval -0.0020 to +0.0200")
    assert not judge(None).promoted


@pytest.mark.parametrize(("mean", "against"), [(0.948, False), (0.9479, True)])
def test_mean_may_be_lower_by_the_tolerance(mean: float, against: bool) -> None:
    assert (judge(NOISE, image_auroc=mean).checks[0].side == "against") is against


@pytest.mark.parametrize(("nut", "promoted"), [(0.91, True), (0.9099, False)])
def test_category_may_be_lower_by_the_tolerance(nut: float, promoted: bool) -> None:
    assert judge(categories={"bolt": 0.97, "nut": nut}).promoted is promoted


@pytest.mark.parametrize(("recall", "promoted"), [(0.77, True), (0.7699, False)])
def test_recall_may_be_lower_by_the_tolerance(recall: float, promoted: bool) -> None:
    assert judge(recall=recall).promoted is promoted


@pytest.mark.parametrize(("accuracy", "promoted"), [(0.85, True), (0.8499, False)])
def test_balanced_accuracy_may_be_lower_by_the_tolerance(accuracy: float, promoted: bool) -> None:
    assert judge(balanced_accuracy=accuracy).promoted is promoted


@pytest.mark.parametrize(("share", "promoted"), [(0.1, True), (0.1001, False)])
def test_held_out_share_may_exceed_the_tolerated_rate(share: float, promoted: bool) -> None:
    decision = judge(held_out_share=share)
    assert decision.promoted is promoted
    if not promoted:
        assert decision.reasons == ["0.1001 of the held-out good images lie above the threshold, more than 0.1000"]


def test_champion_that_flags_good_parts_loses_to_one_that_does_not() -> None:
    decision = judge(NOISE, champion=replace(CHAMPION, held_out_share=0.3))
    assert (decision.promoted, decision.reasons) == (
        True,
        ["the champion flags 0.3000 of the held-out good images, more than 0.1000; the challenger 0.0400"],
    )


def test_bad_parts_labelled_good_do_not_win_by_their_thresholds() -> None:
    """A challenger that was taught a bad batch as good flags less of it, and finds less."""
    decision = judge(NOISE, champion=replace(CHAMPION, held_out_share=0.3), balanced_accuracy=0.7)
    assert decision.reasons == [
        "balanced accuracy 0.7000 against 0.9000 of the champion: lower by 0.2000, more than the tolerance 0.05"
    ]


def test_latency_budget() -> None:
    rules = Gate(latency_ms=25)
    assert judge(rules=rules).promoted
    assert judge(rules=rules, latency_ms=25.04).reasons == [
        "an image takes 25.0 ms from file to verdict, more than the budget of 25 ms"
    ]
    assert judge(rules=rules, latency_ms=None).reasons == ["the latency was not measured. Run `dvc repro -f evaluate`"]
    assert not judge(None, champion=None, rules=rules, latency_ms=26.0).promoted


def test_floor() -> None:
    rules = Gate(category_floor=0.95, category_tolerance=0.5)
    assert judge(rules=rules).promoted  # nut is below the floor, but the champion is no better there
    assert judge(rules=rules, categories={"bolt": 0.949, "nut": 0.94}).reasons == [
        "image AUROC of bolt 0.9490 is below the floor 0.95"
    ]
    assert judge(None, champion=None, rules=rules).reasons == ["image AUROC of nut 0.9400 is below the floor 0.95"]


@pytest.mark.parametrize("step", range(1, 100))
def test_rounding_does_not_turn_a_drop_by_the_tolerance_into_more(step: int) -> None:
    champion, challenger = (Figures(0.9, {"nut": n / 100}, frozenset({"nut"})) for n in (step, step - 1))
    assert decide(champion, challenger, BETTER, Gate(category_tolerance=0.01), 0.05).promoted


def test_every_reason_against_is_given() -> None:
    decision = judge(image_auroc=0.9, categories={"bolt": 0.9}, trained_on=frozenset({"bolt"}), recall=0.7)
    assert decision.reasons == [
        "mean image AUROC 0.9000 against 0.9500 of the champion: lower by 0.0500, more than the tolerance 0.002",
        "recall at the same false positive rate 0.7000 against 0.8000 of the champion: lower by 0.1000, "
        "more than the tolerance 0.03",
        "the champion was trained on category nut, the challenger was not",
        "image AUROC of bolt 0.9000 against 0.9700 of the champion: lower by 0.0700, more than the tolerance 0.02",
    ]


def test_category_that_the_champion_does_not_know_wins() -> None:
    more = {"trained_on": BOTH | {"washer"}, "categories": {"bolt": 0.98, "nut": 0.94, "washer": 0.7}}
    decision = judge(NOISE, **more)
    assert (decision.promoted, decision.reasons) == (
        True,
        ["the champion was not trained on category washer; image AUROC 0.7000 there"],
    )
    assert judge(NOISE, rules=Gate(category_floor=0.8), **more).reasons == [
        "image AUROC of washer 0.7000 is below the floor 0.8"
    ]


def test_figures_that_only_the_champion_lacks_are_skipped() -> None:
    champion = Figures(0.95, {"bolt": None, "nut": None}, BOTH)
    assert judge(champion=champion, categories={"bolt": 0.1, "nut": None}).promoted


def test_figures_that_only_the_challenger_lacks_keep_the_champion() -> None:
    assert judge(image_auroc=None, categories={"bolt": 0.97, "nut": None}).reasons == [
        "mean image AUROC cannot be computed; the champion has 0.9500",
        "image AUROC of nut cannot be computed; the champion has 0.9300",
    ]
