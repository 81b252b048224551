"""Statistics and their resamples, against picking rows and plain Python; intervals' coverage."""

import numpy as np
import pytest
from drawn import ANY_SIZE, STATISTICS, draw, of_all_classes, plain
from hypothesis import given, settings, strategies as st
from scipy import sparse

from clipft.metrics import accuracy as metrics, intervals
from clipft.metrics.comparison import mcnemar
from clipft.metrics.intervals import Statistic, interval, resampled


@settings(deadline=None)
@given(*ANY_SIZE, st.sampled_from(STATISTICS))
def test_a_statistic_is_its_plain_form(seed, n, classes, name):
    given_ = draw(seed, n, classes)
    statistic = of_all_classes(name)(*given_)
    assert statistic.value == pytest.approx(plain(name, *given_))
    assert statistic.of(np.ones((1, n))).tolist() == [statistic.value]


@settings(deadline=None, max_examples=40)
@given(*ANY_SIZE, st.sampled_from(STATISTICS), st.integers(0, 5))
def test_resampling_is_picking_rows(seed, n, classes, name, draws):
    given_ = draw(seed, n, classes)
    found = resampled({"it": of_all_classes(name)(*given_)}, 6, draws)["it"]
    picks = np.random.default_rng([draws, n]).integers(0, n, (6, n))
    want = [plain(name, *(part[rows] for part in given_)) for rows in picks]
    np.testing.assert_allclose(found, want, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(*ANY_SIZE, st.sampled_from(STATISTICS))
def test_an_image_may_count_several_times_or_not_at_all(seed, n, classes, name):
    given_ = draw(seed, n, classes)
    counts = np.random.default_rng(seed).multinomial(
        n, np.random.default_rng(seed + 1).dirichlet([0.3] * n), 3
    )
    want = [plain(name, *(np.repeat(part, row) for part in given_)) for row in counts]
    np.testing.assert_allclose(
        of_all_classes(name)(*given_).of(counts.astype(float)), want, atol=1e-12
    )


def test_holding_fewer_resamples_changes_none(monkeypatch):
    given_ = draw(0, 30, 5)
    every = {name: of_all_classes(name)(*given_) for name in STATISTICS}
    whole = resampled(every, 50)
    assert {len(values) for values in whole.values()} == {50}
    for held in (1, 30, 200):  # one, one, and six resamples of 30 images
        monkeypatch.setattr(intervals, "AT_ONCE", held)
        for name, values in resampled(every, 50).items():
            np.testing.assert_allclose(values, whole[name], rtol=1e-12)


def test_parts_may_be_dense_or_sparse():
    given_ = draw(1, 40, 4)
    statistic = metrics.f1(*given_[:2])
    assert sparse.issparse(statistic.parts)
    dense = Statistic(statistic.parts.toarray(), statistic.finish)
    found = resampled({"dense": dense, "sparse": statistic}, 30)
    np.testing.assert_allclose(found["dense"], found["sparse"])


def test_resamples_of_one_seed_are_paired():
    rng = np.random.default_rng(0)
    a, b = rng.random(60), rng.random(60)
    apart = [resampled({"x": metrics.mean(values)}, 100)["x"] for values in (a, b)]
    together = resampled({"change": metrics.mean(b - a), "a": metrics.mean(a)}, 100)
    np.testing.assert_allclose(apart[1] - apart[0], together["change"])
    np.testing.assert_array_equal(apart[0], together["a"])
    assert (resampled({"x": metrics.mean(a)}, 100, seed=1)["x"] != apart[0]).any()


@pytest.mark.parametrize("name", STATISTICS)
def test_a_model_differs_from_itself_in_no_resample(name):
    given_ = draw(3, 50, 6)
    one, same = (of_all_classes(name)(*given_) for _ in range(2))
    draws = resampled({"one": one, "same": same}, 200)
    assert (draws["one"] == draws["same"]).all()
    assert np.ptp(draws["one"]) > 0
    right = given_[0] == given_[1]
    found = mcnemar(right, right)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_the_interval_of_a_mean_is_the_textbooks():
    values = np.random.default_rng(5).normal(3, 2, 500)
    low, high = interval(resampled({"": metrics.mean(values)})[""])
    error = values.std(ddof=1) / np.sqrt(500)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.25 * error
    )


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    sets = {number: metrics.mean(rng.normal(0, 1, 60)) for number in range(400)}
    draws = resampled(sets, 400)
    covered = [low <= 0 <= high for low, high in map(interval, draws.values())]
    assert 0.90 < np.mean(covered) < 0.98
    fewer = [low <= 0 <= high for low, high in (interval(values, 0.5) for values in draws.values())]
    assert 0.42 < np.mean(fewer) < 0.58
