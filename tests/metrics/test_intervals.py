import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from harmoniad.errors import HarmoniadError
from harmoniad.metrics import auroc, auroc_difference, auroc_interval, recall_interval
from harmoniad.metrics import intervals as module


def draw(positives=40, negatives=30, seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(positives + negatives) < positives
    return labels, np.round(rng.normal(shift * labels, 1.0), 1)  # with ties


def slow_bootstrap(labels, scores, resamples, seed=1):
    rng = np.random.default_rng(seed)
    positive, negative = np.flatnonzero(labels), np.flatnonzero(~labels)
    areas = []
    for _ in range(resamples):
        drawn = np.concatenate([rng.choice(positive, positive.size), rng.choice(negative, negative.size)])
        areas.append(roc_auc_score(labels[drawn], scores[drawn]))
    return np.quantile(areas, [0.025, 0.975])


def test_equals_a_bootstrap_item_by_item():
    labels, scores = draw()
    assert auroc_interval(labels, scores, resamples=5000) == pytest.approx(
        slow_bootstrap(labels, scores, 500), abs=0.02
    )


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_covers_the_true_auroc_about_as_often_as_it_says(confidence):
    true = 0.7602  # P(N(1, 1) > N(0, 1)), the normal distribution function at 1 / sqrt(2)
    hits = 0
    for seed in range(300):
        labels, scores = draw(seed=seed)
        low, high = auroc_interval(labels, scores, confidence=confidence, resamples=300)
        hits += low <= true <= high
    assert hits / 300 == pytest.approx(confidence, abs=0.07)


def test_a_rising_transform_and_the_order_of_items_change_nothing():
    labels, scores = draw()
    expected = auroc_interval(labels, scores)
    assert auroc_interval(labels, np.exp(3 * scores)) == expected
    assert auroc_interval(labels[::-1], scores[::-1]) == pytest.approx(expected, abs=0.01)


def test_the_seed_decides_and_the_size_of_a_draw_does_not(monkeypatch):
    labels, scores = draw()
    assert auroc_interval(labels, scores) == auroc_interval(labels, scores) != auroc_interval(labels, scores, seed=1)
    low, high = auroc_interval(labels, scores)
    assert low < auroc(labels, scores) < high
    monkeypatch.setattr(module, "DRAWS_AT_ONCE", 1)
    assert auroc_interval(labels, scores) == pytest.approx((low, high), abs=0.01)


def test_perfect_separation_is_no_certainty():
    scores = np.arange(30.0)
    assert auroc_interval(scores >= 20, scores) == (pytest.approx(0.025 ** (1 / 10)), 1.0)
    assert auroc_interval(scores < 20, scores) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))
    assert recall_interval(scores >= 20, scores, 19.5) == (pytest.approx(0.025 ** (1 / 10)), 1.0)
    assert recall_interval(scores >= 20, scores, 29.5) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))


def test_constant_scores_are_certainly_at_chance():
    assert auroc_interval([0, 0, 1, 1], [2.0] * 4) == (0.5, 0.5)


def test_recall_is_close_to_the_exact_binomial_interval():
    labels = np.ones(200, bool)
    scores = np.arange(200.0)
    exact = binomtest(160, 200).proportion_ci(0.95, method="wilson")
    assert recall_interval(labels, scores, 39.5) == pytest.approx((exact.low, exact.high), abs=0.01)
    assert recall_interval(labels, scores, 39.5, confidence=0.5) == pytest.approx((0.78, 0.82), abs=0.01)


def test_good_items_do_not_matter_to_recall():
    labels, scores = draw()
    assert recall_interval(labels, scores, 1.0) == recall_interval(labels[labels], scores[labels], 1.0)


def test_none_where_the_figure_is_not_defined():
    assert auroc_interval([1, 1], [0.1, 0.2]) is None
    assert auroc_interval([0, 0], [0.1, 0.2]) is None
    assert recall_interval([0, 0], [0.1, 0.2], 0.1) is None
    assert auroc_interval([], []) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 95}, "confidence must be between 0 and 1, not 95"),
        ({"resamples": 0}, "resamples must be at least 1, not 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(HarmoniadError, match=message):
        auroc_interval([0, 1], [0.1, 0.2], **options)
    with pytest.raises(HarmoniadError, match=message):
        recall_interval([0, 1], [0.1, 0.2], 0.1, **options)


def test_nan_is_refused():
    with pytest.raises(HarmoniadError, match="scores must be finite"):
        auroc_interval([0, 1], [0.1, np.nan])


def two_models(seed=0, gain=0.5, positives=40, negatives=30):
    """Scores of two models on the same items, whose errors are alike."""
    rng = np.random.default_rng(seed)
    labels = np.arange(positives + negatives) < positives
    common = rng.normal(0, 1, labels.size)
    return labels, common + labels, np.round(common + (1 + gain) * labels + rng.normal(0, 0.2, labels.size), 1)


def test_difference_equals_a_paired_bootstrap_item_by_item():
    models = {"a": two_models(0), "b": two_models(1, gain=-0.3, positives=10)}
    rng, slow = np.random.default_rng(3), []
    for _ in range(400):
        areas = []
        for labels, first, second in models.values():
            positive, negative = np.flatnonzero(labels), np.flatnonzero(~labels)
            drawn = np.concatenate([rng.choice(positive, positive.size), rng.choice(negative, negative.size)])
            areas.append(roc_auc_score(labels[drawn], second[drawn]) - roc_auc_score(labels[drawn], first[drawn]))
        slow.append(np.mean(areas))
    found = auroc_difference(models)
    exact = [auroc(labels, second) - auroc(labels, first) for labels, first, second in models.values()]
    assert found.estimate == pytest.approx(np.mean(exact))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.01)


def test_difference_by_hand():
    # The first model has 3 of 4 pairs in order, the second all; each draw of the items keeps or loses what is wrong.
    labels, first, second = [1, 1, 0, 0], [4.0, 2.0, 3.0, 1.0], [4.0, 3.0, 2.0, 1.0]
    found = auroc_difference({"a": (labels, first, second)}, confidence=0.9)
    assert (found.estimate, found.low, found.high) == (0.25, 0.0, 1.0)  # lost with 1 / 16: the wrong pair alone
    assert auroc_difference({"a": (labels, second, first)}).estimate == -0.25


def test_paired_items_make_the_difference_surer_than_two_intervals():
    labels, first, second = two_models()
    found = auroc_difference({"a": (labels, first, second)})
    low, high = auroc_interval(labels, second)
    assert found.low > 0
    assert found.high - found.low < high - low


def test_difference_of_a_model_and_itself_is_certainly_nothing():
    labels, first, _ = two_models()
    found = auroc_difference({"a": (labels, first, first)})
    assert (found.estimate, found.low, found.high) == (0, 0, 0)


def test_the_size_of_a_draw_does_not_matter_to_the_difference(monkeypatch):
    models = {"a": two_models()}
    found = auroc_difference(models)
    monkeypatch.setattr(module, "DRAWS_AT_ONCE", 1)
    again = auroc_difference(models)
    assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=0.01)


def test_categories_without_good_or_defective_items_do_not_count():
    labels, first, second = two_models()
    alone = auroc_difference({"a": (labels, first, second)})
    assert auroc_difference({"a": (labels, first, second), "b": ([1, 1], [1.0, 2.0], [2.0, 1.0])}) == alone
    assert auroc_difference({"b": ([0, 0], [1.0, 2.0], [2.0, 1.0])}) is None
    with pytest.raises(HarmoniadError, match="confidence must be between 0 and 1"):
        auroc_difference({}, confidence=0)
    with pytest.raises(HarmoniadError, match="scores must be finite"):
        auroc_difference({"a": ([0, 1], [0.1, 0.2], [0.1, np.nan])})
