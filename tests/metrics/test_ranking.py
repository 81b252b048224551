"""Ranks, ordered pairs and errors over clusters: against SciPy on copies of the models."""

import numpy as np
import pytest
from scipy import stats

from clipft.metrics.ranking import Clusters, mean_of, ordered_share, spearman


@pytest.fixture
def drawn():
    random = np.random.default_rng(0)
    y = random.normal(size=24)
    x = (y + random.normal(size=24)).round(1)  # some are tied
    return x, y.round(1), np.repeat(list("abcdefgh"), 3)


def test_a_model_that_counts_twice_is_there_twice(drawn):
    x, y, groups = drawn
    clusters = Clusters.of(groups)
    for counts in [np.ones(24), *clusters.draws(20), *clusters.without_each()]:
        rows = np.repeat(np.arange(24), counts.astype(int))
        wanted = stats.spearmanr(x[rows], y[rows]).statistic
        assert spearman(x, y)(counts[None])[0] == pytest.approx(wanted)
        signs = [
            (np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) + 1) / 2
            for i in rows for j in rows if y[i] != y[j]
        ]  # fmt: skip
        assert ordered_share(x, y)(counts[None])[0] == pytest.approx(np.mean(signs))
        assert mean_of(x)(counts[None])[0] == pytest.approx(x[rows].mean())


def test_pairs_are_kendalls_tau(drawn):
    x, y = np.random.default_rng(1).normal(size=(2, 15))
    found = ordered_share(x, y)(np.ones((1, 15)))[0]
    assert found == pytest.approx((stats.kendalltau(x, y).statistic + 1) / 2)


def test_clusters_are_drawn_whole_and_in_any_order(drawn):
    x, y, groups = drawn
    draws = Clusters.of(groups).draws(50).reshape(50, 8, 3)
    assert (draws == draws[:, :, :1]).all() and (draws[:, :, 0].sum(1) == 8).all()
    plain = Clusters.of(groups).measure(spearman(x, y), 200)
    order = np.random.default_rng(2).permutation(24)
    mixed = Clusters.of(groups[order]).measure(spearman(x[order], y[order]), 200)
    assert (plain.value, plain.low, plain.high) == pytest.approx(
        (mixed.value, mixed.low, mixed.high)
    )
    assert -1 <= plain.low < plain.value < plain.high <= 1


def test_below_four_clusters_there_is_no_interval(drawn):
    x, y, groups = drawn
    found = Clusters.of(groups[:9]).measure(spearman(x[:9], y[:9]))
    assert np.isfinite(found.value) and np.isnan([found.low, found.high]).all()
    constant = Clusters.of(groups).measure(spearman(np.ones(24), y))
    assert np.isnan([constant.value, constant.low, constant.high]).all()
