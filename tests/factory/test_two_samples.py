"""The tests of two samples, against slow definitions and in simulations."""

import numpy as np
import pytest

from harmoniad.factory.two_samples import Samples, adjusted, compare, is_drift, principal_components
from harmoniad.params import Drift


def test_statistic_and_effect_by_hand() -> None:
    new, reference = np.array([1.0, 2.0, 6.0]), np.array([2.0, 3.0, 4.0, 5.0])
    found = compare(Samples(new, reference), 4)
    at = np.concatenate([new, reference])
    distances = [abs((new <= value).mean() - (reference <= value).mean()) for value in at]
    signs = [np.sign(a - b) for a in new for b in reference]
    assert found.statistic == pytest.approx(max(distances))
    assert found.effect == pytest.approx(np.mean(signs))
    assert 0 < found.p <= 1


def test_p_values_are_corrected_as_benjamini_and_hochberg_do() -> None:
    found = adjusted({("a", "score"): 0.01, ("a", "brightness"): 0.04, ("b", "score"): 0.03, ("b", "brightness"): 0.5})
    assert list(found.values()) == pytest.approx([0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.5])
    assert adjusted({}) == {}


def test_only_what_is_neither_chance_nor_small_is_drift() -> None:
    params = Drift(significance=0.01, effect=0.5)
    assert is_drift(0.009, -0.5, params)
    assert not is_drift(0.011, 1.0, params)
    assert not is_drift(0.0001, 0.4, params)


def test_components_have_the_scores_of_an_eigendecomposition() -> None:
    values = np.random.default_rng(0).normal(size=(20, 6)) @ np.random.default_rng(1).normal(size=(6, 6))
    standard = (values - values.mean(0)) / values.std(0)
    variances, directions = np.linalg.eigh(standard.T @ standard)
    expected = standard @ directions[:, ::-1][:, :3]
    found = principal_components(values, 3)
    assert np.abs(found) == pytest.approx(np.abs(expected))
    assert variances[-1] == pytest.approx((found[:, 0] ** 2).sum())


def test_features_that_do_not_vary_are_no_drift() -> None:
    found = compare(Samples(np.ones((6, 3)), np.ones((9, 3))), 4)
    assert (found.p, found.effect) == (1, 0)


def test_few_images_of_many_channels_keep_the_level_and_a_shift_is_found() -> None:
    """The usual mistake, components of the reference alone, alarms nearly always with fewer images than channels."""
    generator = np.random.default_rng(0)
    p_values = []
    for _ in range(200):
        values = generator.normal(size=(38, 150))
        p_values.append(compare(Samples(values[:8], values[8:]), 4).p)
    assert np.mean(np.array(p_values) < 0.05) < 0.09
    shifted = generator.normal(size=(8, 150)) + 1.0
    assert compare(Samples(shifted, generator.normal(size=(30, 150))), 4).p < 1e-4
