"""A line against scipy and the normal equations; the pair that r hangs on, by trying all."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from scipy import stats

from clipft.errors import ConfigError
from clipft.metrics.correlation import correlation, fit_line, influential_pair

numbers = st.integers(-50, 50)
points = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=12)


def by_normal_equations(x, y, at):
    """Line and interval of its mean from the design matrix, as textbooks write them."""
    design = np.column_stack([np.ones(len(x)), x])
    inverse = np.linalg.inv(design.T @ design)
    weights = inverse @ design.T @ y
    residuals = y - design @ weights
    variance = residuals @ residuals / (len(x) - 2)
    here = np.column_stack([np.ones(len(at)), at])
    error = np.sqrt(variance * np.einsum("ki,ij,kj->k", here, inverse, here))
    reach = stats.t(len(x) - 2).ppf(0.975) * error
    return here @ weights, here @ weights - reach, here @ weights + reach


@given(points)
def test_the_line_and_its_interval_are_those_of_the_normal_equations(points):
    x, y = np.array(points, dtype=float).T
    assume(np.ptp(x) > 0)
    at = np.array([x.min() - 3, x.mean(), x.max()])
    found = fit_line(x, y).at(at)
    np.testing.assert_allclose(found, by_normal_equations(x, y, at), rtol=1e-7, atol=1e-6)


@given(points)
def test_slope_and_its_error_are_scipys(points):
    x, y = np.array(points, dtype=float).T
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)  # scipy's error of a flat line is nan
    line = fit_line(x, y)
    want = stats.linregress(x, y)
    assert line.slope == pytest.approx(want.slope, abs=1e-9)
    assert line.offset == pytest.approx(want.intercept, abs=1e-8)
    assert line.error / np.sqrt(line.squares) == pytest.approx(want.stderr, abs=1e-6)


def test_the_interval_covers_the_true_line():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 4, 9)
    covered = 0
    for _ in range(2000):
        _, low, high = fit_line(x, 2 * x + 1 + rng.normal(size=9)).at([3.0])
        covered += low[0] <= 7 <= high[0]
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_there_is_no_line_through_two_points_or_one_x():
    assert fit_line([1, 2], [1, 2]) is None
    assert fit_line([2, 2, 2], [1, 2, 3]) is None
    with pytest.raises(ConfigError, match="one y for each x"):
        fit_line([1, 2, 3], [1, 2])


def without(x, y, pair):
    keep = [i for i in range(len(x)) if i not in pair]
    x, y = x[keep], y[keep]
    return np.nan if np.ptp(x) == 0 or np.ptp(y) == 0 else stats.pearsonr(x, y)[0]


@given(st.lists(st.tuples(numbers, numbers), min_size=5, max_size=9))
def test_without_no_other_pair_is_less_left_of_r(points):
    x, y = np.array(points, dtype=float).T
    pair = influential_pair(x, y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert pair is None
        return
    whole = stats.pearsonr(x, y)[0]
    left = {}
    for other in itertools.combinations(range(len(x)), 2):
        rest = without(x, y, other) * np.sign(whole)
        if not np.isnan(rest):
            left[other] = rest
    if not left:
        assert pair is None
        return
    assert pair[0] < pair[1]
    assert left[pair] == pytest.approx(min(left.values()), abs=1e-6)


def test_two_far_points_that_hide_each_other_are_found():
    """Leaving them out one by one would change little: the other one still makes r."""
    x = np.array([0.0, 1, 2, 0, 1, 2, 40, 40])
    y = np.array([1.0, 0, 1, 0, 1, 0.5, 30, 30])
    assert correlation(x, y).r > 0.99
    assert influential_pair(x, y) == (6, 7)
    assert abs(without(x, y, (6, 7))) < 0.3
    assert without(x, y, (6,)) > 0.9


def test_four_points_have_no_pair_to_leave_out():
    assert influential_pair([1, 2, 3, 4], [1, 2, 3, 5]) is None
