import pytest

from harmoniad.tracking.gate import Decision, Scores, decide

CHAMPION = Scores("test-1", 0.95, {"bolt": 0.97, "nut": 0.93})


def judge(mean: float | None, categories: dict[str, float | None], champion: Scores | None = CHAMPION) -> Decision:
    return decide(champion, Scores("test-1", mean, categories), mean_tolerance=0.002, category_tolerance=0.02)


def test_first_model_is_promoted() -> None:
    assert judge(0.4, {}, champion=None) == Decision(True, ["there was no champion; mean image AUROC 0.4000"])


def test_first_model_without_a_figure_is_promoted() -> None:
    assert judge(None, {}, champion=None) == Decision(True, ["there was no champion; mean image AUROC unknown"])


def test_better_model_is_promoted_with_the_figures() -> None:
    assert judge(0.96, {"bolt": 0.98, "nut": 0.94}) == Decision(
        True,
        [
            "mean image AUROC 0.9600 against 0.9500 of the champion (tolerance 0.002)",
            "no category is lower by more than 0.02",
        ],
    )


def test_tie_passes() -> None:
    assert judge(0.95, {"bolt": 0.97, "nut": 0.93}).promoted


@pytest.mark.parametrize(("mean", "promoted"), [(0.948, True), (0.9479, False)])
def test_mean_may_be_lower_by_the_tolerance(mean: float, promoted: bool) -> None:
    assert judge(mean, {"bolt": 0.97, "nut": 0.93}).promoted is promoted


@pytest.mark.parametrize(("nut", "promoted"), [(0.91, True), (0.9099, False)])
def test_category_may_be_lower_by_the_tolerance(nut: float, promoted: bool) -> None:
    assert judge(0.95, {"bolt": 0.97, "nut": nut}).promoted is promoted


@pytest.mark.parametrize("step", range(1, 100))
def test_rounding_does_not_turn_a_drop_by_the_tolerance_into_more(step: int) -> None:
    champion = Scores("test-1", step / 100, {})
    assert decide(champion, Scores("test-1", (step - 1) / 100, {}), 0.01, 0.0).promoted


def test_every_reason_against_is_given() -> None:
    assert judge(0.9, {"bolt": 0.9}) == Decision(
        False,
        [
            "mean image AUROC 0.9000 against 0.9500 of the champion: lower by 0.0500, more than the tolerance 0.002",
            "image AUROC of bolt 0.9000 against 0.9700 of the champion: lower by 0.0700, more than the tolerance 0.02",
            "category nut is missing; the champion has image AUROC 0.9300 there",
        ],
    )


def test_other_test_images_cannot_be_compared() -> None:
    decision = decide(CHAMPION, Scores("test-2", 1.0, {"bolt": 1.0, "nut": 1.0}), 0.002, 0.02)
    assert decision == Decision(
        False,
        [
            "the champion was measured on other test images (test fingerprint test-1, now test-2), "
            "so the two cannot be compared"
        ],
    )


def test_new_category_does_not_matter() -> None:
    assert judge(0.95, {"bolt": 0.97, "nut": 0.93, "washer": 0.1}).promoted


def test_figure_that_neither_has_is_skipped() -> None:
    champion = Scores("test-1", None, {"bolt": None})
    assert judge(None, {"bolt": None}, champion).promoted


def test_figure_that_only_the_champion_lacks_is_skipped() -> None:
    champion = Scores("test-1", 0.5, {"bolt": None})
    assert judge(0.5, {"bolt": 0.1}, champion).promoted


def test_figure_that_only_the_challenger_lacks_keeps_the_champion() -> None:
    assert judge(None, {"bolt": 0.97, "nut": None}) == Decision(
        False,
        [
            "mean image AUROC cannot be computed; the champion has 0.9500",
            "image AUROC of nut cannot be computed; the champion has 0.9300",
        ],
    )
