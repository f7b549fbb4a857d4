"""Do two samples come from one distribution? The tests, their correction for many categories, and effect sizes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmoniad.params import Drift

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Samples:
    """A measure of new images and of the reference.

    Attributes:
        new: (n,), or (n, D) for features.
        reference: (m,), or (m, D).
    """

    new: Floats
    reference: Floats


@dataclass(frozen=True)
class Comparison:
    """What a test says of one measure.

    Attributes:
        new: (n,) what was compared: the values themselves, or their projection on the component that differs most.
        reference: (m,) the same.
        statistic: Kolmogorov and Smirnov's: the largest distance between the two distribution functions.
        p: How likely so large a distance is if both are from one distribution.
        effect: Cliff's delta (Psychological Bulletin 1993): the share of pairs in which the new value is the larger one
            less the share in which it is the smaller one, -1 to 1.
    """

    new: Floats
    reference: Floats
    statistic: float
    p: float
    effect: float


def compare(samples: Samples, components: int) -> Comparison:
    """Test one measure; that of features on their leading principal components, with Bonferroni's correction.

    The components are those of both samples together: so neither is special, and the test keeps its level however few
    images there are.
    """
    if samples.new.ndim == 1:
        return _compare(samples.new, samples.reference)
    count = len(samples.new)
    projected = principal_components(np.concatenate([samples.new, samples.reference]), components)
    found = [_compare(column[:count], column[count:]) for column in projected.T]
    most = min(found, key=lambda comparison: comparison.p)
    corrected = min(1.0, most.p * len(found))
    return Comparison(most.new, most.reference, most.statistic, corrected, most.effect)


def principal_components(values: Floats, count: int) -> Floats:
    """The leading principal components (N, k) of standardised values (N, D); k is smaller where there are fewer."""
    spread = values.std(axis=0)
    varied = values[:, spread > 0]
    if not varied.shape[1]:
        return np.zeros((len(values), 1))
    standard = (varied - varied.mean(axis=0)) / spread[spread > 0]
    left, singular, _ = np.linalg.svd(standard, full_matrices=False)
    kept = min(count, int((singular > singular[0] * 1e-9).sum()))
    return np.asarray(left[:, :kept] * singular[:kept])


def _compare(new: Floats, reference: Floats) -> Comparison:
    from scipy.stats import ks_2samp, mannwhitneyu

    test = ks_2samp(new, reference)
    larger = float(mannwhitneyu(new, reference, method="asymptotic").statistic)
    effect = 2 * larger / (len(new) * len(reference)) - 1
    return Comparison(new, reference, float(test.statistic), float(test.pvalue), effect)


def adjusted(p_values: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """The p-values of all tests, corrected for their number (Benjamini and Hochberg, 1995)."""
    from scipy.stats import false_discovery_control

    if not p_values:
        return {}
    return dict(zip(p_values, map(float, false_discovery_control(list(p_values.values()))), strict=True))


def is_drift(p_adjusted: float, effect: float, params: Drift) -> bool:
    """Whether a difference is neither chance nor too small to matter."""
    return p_adjusted < params.significance and abs(effect) >= params.effect
