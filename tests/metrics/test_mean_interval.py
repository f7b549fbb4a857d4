import numpy as np
import pytest

from harmoniad.metrics import auroc
from harmoniad.metrics.intervals import mean_auroc_interval

RNG = np.random.default_rng(5)
LABELS = np.repeat([False, True], [12, 9])
FIRST, SECOND = RNG.normal(LABELS, 1.0), RNG.normal(LABELS * 2.0, 1.0)


def slow(resamples: int) -> list[float]:
    """Mean AUROC of both models over resamples of the items, item by item."""
    generator = np.random.default_rng(1)
    good, bad = np.flatnonzero(~LABELS), np.flatnonzero(LABELS)
    means = []
    for _ in range(resamples):
        drawn = np.concatenate([generator.choice(bad, bad.size), generator.choice(good, good.size)])
        means.append(np.mean([auroc(LABELS[drawn], model[drawn]) for model in (FIRST, SECOND)]))
    return means


def test_it_is_the_interval_of_the_mean_over_models_that_see_the_same_draws() -> None:
    found = mean_auroc_interval({"a": (LABELS, [FIRST, SECOND])}, resamples=4000)
    assert found is not None
    assert found.estimate == pytest.approx(np.mean([auroc(LABELS, FIRST), auroc(LABELS, SECOND)]))
    low, high = np.quantile(slow(2000), [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_categories_without_both_kinds_of_items_do_not_count() -> None:
    alone = mean_auroc_interval({"a": (LABELS, [FIRST])})
    assert mean_auroc_interval({"a": (LABELS, [FIRST]), "b": ([True, True], [[1.0, 2.0]])}) == alone
    assert mean_auroc_interval({"b": ([True, True], [[1.0, 2.0]])}) is None
