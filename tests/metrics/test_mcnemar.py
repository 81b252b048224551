"""Two models on the same images, against statsmodels; pairs of seeds, against SciPy."""

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar

from clipft.errors import ConfigError
from clipft.metrics.accuracy import mean
from clipft.metrics.comparison import mcnemar, paired_difference
from clipft.metrics.intervals import interval, resampled


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.floats(0, 1), st.floats(0, 1))
def test_mcnemar_is_statsmodels(seed, n, one, other):
    rng = np.random.default_rng(seed)
    first, second = rng.random(n) < one, rng.random(n) < other
    found = mcnemar(first, second)
    table = np.array(
        [[((first == a) & (second == b)).sum() for b in (True, False)] for a in (True, False)]
    )
    assert found.p == pytest.approx(their_mcnemar(table, exact=True).pvalue)
    assert (found.n, found.only_first, found.only_second) == (n, table[0, 1], table[1, 0])
    assert (found.first, found.second) == pytest.approx((first.mean(), second.mean()))
    assert found.difference == pytest.approx(second.mean() - first.mean())
    assert found.low <= found.high


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=2, max_size=9))
def test_a_paired_difference_is_scipys(pairs):
    first, second = np.array(pairs).T / 100
    assume(np.ptp(second - first) > 1e-9)
    found = paired_difference(first, second)
    want = stats.ttest_rel(second, first).confidence_interval()
    assert (found.low, found.high) == pytest.approx(tuple(want), abs=1e-9)
    assert (found.mean, found.n) == (pytest.approx((second - first).mean()), len(pairs))


def test_one_pair_has_no_interval():
    found = paired_difference(np.array([0.5]), np.array([0.6]))
    assert np.isnan([found.low, found.high]).all() and found.points == "+10.0 points, n = 1"
    with pytest.raises(ConfigError, match="2 and 1 values"):
        paired_difference(np.ones(2), np.ones(1))
    with pytest.raises(ConfigError, match="some pairs"):
        paired_difference(np.ones(0), np.ones(0))


def test_models_on_other_images_are_not_compared():
    with pytest.raises(ConfigError, match="3 and 2 values") as caught:
        mcnemar(np.ones(3, bool), np.ones(2, bool))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="unpack"):
        resampled({"a": mean(np.ones(3)), "b": mean(np.ones(2))})


def test_a_paired_interval_is_narrower():
    """Two models that err on the same images differ more surely than their own intervals tell."""
    rng = np.random.default_rng(0)
    first = rng.random(400) < 0.5
    second = first | (rng.random(400) < 0.05)
    found = mcnemar(first, second)
    alone = interval(mean(first), resampled({"": mean(first)})[""])
    assert found.low > 0 and found.p < 0.05
    assert found.high - found.low < (alone[1] - alone[0]) / 2
