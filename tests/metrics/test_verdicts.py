import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, recall_score

from harmoniad.errors import HarmoniadError
from harmoniad.metrics import Rates, rates_at, recall_at_rate, recall_by_area


def test_by_hand():
    # A score at the threshold passes, as on the line.
    assert rates_at([1, 1, 1, 1, 0, 0], [5.0, 4.0, 3.0, 9.0, 3.0, 4.5], 3.0) == Rates(0.75, 0.5, 0.625)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=30), st.integers(0, 9))
def test_equals_scikit_learn(items, threshold):
    items = [(True, 5), (False, 5), *items]
    labels, scores = np.array(items).T
    called = scores > threshold
    rates = rates_at(labels, scores, threshold)
    assert rates.recall == pytest.approx(recall_score(labels, called))
    assert rates.false_positive_rate == pytest.approx(1 - recall_score(labels, called, pos_label=0))
    assert rates.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, called))


def test_each_item_may_have_its_own_threshold():
    assert rates_at([1, 1, 0, 0], [1.0, 1.0, 1.0, 1.0], [0.5, 2.0, 0.5, 2.0]) == Rates(0.5, 0.5, 0.5)


def test_none_without_defective_or_without_normal_items():
    assert rates_at([0, 0], [1.0, 2.0], 1.5) == Rates(None, 0.5, None)
    assert rates_at([1, 1], [1.0, 2.0], 1.5) == Rates(0.5, None, None)
    assert rates_at([], [], 1.5) == Rates(None, None, None)


@pytest.mark.parametrize(
    ("scores", "threshold", "message"),
    [
        ([0.1, np.nan], 0.5, "scores must be finite"),
        ([0.1, 0.2], np.nan, "the threshold must be finite"),
        ([0.1, 0.2], [1.0, 2.0, 3.0], "2 scores need one threshold or 2, not 3"),
    ],
)
def test_bad_input_is_named(scores, threshold, message):
    with pytest.raises(HarmoniadError, match=message):
        rates_at([0, 1], scores, threshold)


def test_recall_by_area_by_hand():
    shares = [0.0005, 0.001, 0.009, 0.01, 0.8]
    assert recall_by_area(shares, [2.0, 2.0, 1.0, 2.0, 0.5], 1.0) == {"tiny": (1, 1), "small": (1, 2), "large": (1, 2)}
    assert recall_by_area([], [], 1.0) == {"tiny": (0, 0), "small": (0, 0), "large": (0, 0)}
    with pytest.raises(HarmoniadError, match="the areas must be above 0"):
        recall_by_area([0.0], [1.0], 0.5)


@pytest.mark.parametrize(("rate", "recall"), [(0, 0.25), (0.1, 0.25), (0.25, 0.5), (0.3, 0.5), (0.5, 0.75), (0.75, 1)])
def test_recall_where_a_share_of_the_good_items_is_flagged(rate, recall):
    labels, scores = [0, 0, 0, 0, 1, 1, 1, 1], [1, 2, 3, 4, 1.5, 2.5, 3.5, 4.5]
    assert recall_at_rate(labels, scores, rate) == recall


def test_recall_at_a_rate_counts_no_item_on_the_threshold_and_may_not_be_defined():
    assert recall_at_rate([0, 1], [1.0, 1.0], 0) == 0
    assert recall_at_rate([1, 1], [1.0, 2.0], 0.1) is None
    assert recall_at_rate([0, 0], [1.0, 2.0], 0.1) is None
    with pytest.raises(HarmoniadError, match="must be at least 0 and below 1, not 1"):
        recall_at_rate([0, 1], [1.0, 2.0], 1)
