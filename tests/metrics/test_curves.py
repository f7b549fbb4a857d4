import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from harmoniad.errors import HarmoniadError
from harmoniad.metrics import auroc, average_precision, f1_max

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def ranked_labels(draw):
    """Labels with at least one of each kind, and ranks with many ties."""
    labels = [True, False, *draw(st.lists(st.booleans(), max_size=40))]
    ranks = draw(st.lists(st.integers(0, 9), min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(ranks)


def sklearn_f1_max(labels, scores):
    precision, recall, _ = precision_recall_curve(labels, scores)
    return max(2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True) if p + r > 0)


@settings(deadline=None)
@given(ranked_labels())
def test_equals_scikit_learn_with_ties(case):
    labels, scores = case
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert f1_max(labels, scores)[0] == pytest.approx(sklearn_f1_max(labels, scores), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equals_scikit_learn_on_skewed_scores(dtype):
    rng = np.random.default_rng(0)
    labels = rng.random(20_000) < 0.02
    scores = rng.lognormal(-6 + 2 * labels, 1.5).astype(dtype)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert f1_max(labels, scores)[0] == pytest.approx(sklearn_f1_max(labels, scores), abs=1e-12)


@settings(deadline=None)
@given(ranked_labels(), st.sets(FLOATS, min_size=10, max_size=10))
def test_a_rising_transform_changes_nothing_but_the_threshold(case, values):
    labels, ranks = case
    transform = np.array(sorted(values), dtype=np.float32)
    scores = transform[ranks]
    assert auroc(labels, scores) == auroc(labels, ranks)
    assert average_precision(labels, scores) == average_precision(labels, ranks)
    f1, threshold = f1_max(labels, ranks)
    assert f1_max(labels, scores) == (f1, transform[int(threshold)])


@settings(deadline=None)
@given(ranked_labels())
def test_f1_max_is_reached_at_its_threshold(case):
    labels, scores = case
    f1, threshold = f1_max(labels, scores)
    called = scores >= threshold
    assert f1 == pytest.approx(2 * np.sum(called & labels) / (called.sum() + labels.sum()))


def test_by_hand():
    labels, scores = [0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8]
    assert auroc(labels, scores) == 0.875  # of four pairs, three in order and one tied
    assert average_precision(labels, scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert f1_max(labels, scores) == (pytest.approx(0.8), 0.4)


def test_of_equal_f1_the_highest_threshold_is_returned():
    assert f1_max([1, 0, 0, 1], [4.0, 3.0, 2.0, 1.0]) == (pytest.approx(2 / 3), 4.0)


def test_scores_out_of_the_unit_interval_are_not_squashed():
    labels, scores = [0, 0, 1, 1], np.array([-1e30, 50.0, 51.0, 1e30], np.float32)
    assert auroc(labels, scores) == 1.0  # a sigmoid would tie the last three


def test_constant_scores():
    labels, scores = [0, 0, 0, 1], [7.0] * 4
    assert auroc(labels, scores) == 0.5
    assert average_precision(labels, scores) == 0.25
    assert f1_max(labels, scores) == (pytest.approx(0.4), 7.0)


def test_perfect_and_worst():
    scores = np.arange(6.0)
    assert auroc(scores > 3, scores) == average_precision(scores > 3, scores) == 1.0
    assert f1_max(scores > 3, scores) == (1.0, 4.0)
    assert auroc(scores < 3, scores) == 0.0


@pytest.mark.parametrize("labels", [[], [0, 0]])
def test_none_without_positives(labels):
    scores = [0.5] * len(labels)
    assert auroc(labels, scores) is None
    assert average_precision(labels, scores) is None
    assert f1_max(labels, scores) is None


def test_without_negatives_only_auroc_is_none():
    assert auroc([1, 1], [0.5, 0.2]) is None
    assert average_precision([1, 1], [0.5, 0.2]) == 1.0
    assert f1_max([1, 1], [0.5, 0.2]) == (1.0, 0.2)


def test_labels_of_any_shape_and_of_255():
    labels = np.array([[0, 255], [0, 255]], np.uint8)
    assert auroc(labels, [[0.0, 2.0], [1.0, 3.0]]) == 1.0


@pytest.mark.parametrize("metric", [auroc, average_precision, f1_max])
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.1, np.nan], "scores must be finite, but 1 of 2 values are NaN or infinite"),
        ([0, 1], [np.inf, -np.inf], "2 of 2 values are NaN or infinite"),
        ([0, 1], [0.1, 0.2, 0.3], r"labels have shape \(2,\) but scores have shape \(3,\)"),
        ([0.5, 1.0], [0.1, 0.2], "labels must be boolean or whole numbers"),
        ([0, 1], ["a", "b"], "scores must hold real numbers"),
        ([0, 1], [1j, 2j], "scores must hold real numbers"),
    ],
)
def test_bad_input_is_named(metric, labels, scores, message):
    with pytest.raises(HarmoniadError, match=message):
        metric(labels, scores)
