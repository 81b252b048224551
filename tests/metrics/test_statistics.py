"""Statistics and their resamples, against picking rows and plain Python; intervals against SciPy's,
and how often they hold the truth.
"""

import numpy as np
import pytest
from coverage_table import covered, worlds
from drawn import ANY_SIZE, STATISTICS, draw, of_all_classes, plain
from hypothesis import example, given, settings, strategies as st
from scipy import sparse, stats

from clipft.errors import ConfigError
from clipft.metrics import accuracy as metrics, intervals
from clipft.metrics.calibration import ErrorOfBins, calibration_error, debiased_ece, ece
from clipft.metrics.comparison import mcnemar
from clipft.metrics.intervals import Statistic, interval, interval_of_ratio, resampled


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


@settings(deadline=None, max_examples=60)
@given(*ANY_SIZE, st.sampled_from(STATISTICS))
def test_without_each_image_is_leaving_it_out(seed, n, classes, name):
    given_ = draw(seed, n + 1, classes)
    found = of_all_classes(name)(*given_).without_each()
    rows = np.arange(n + 1)
    want = [plain(name, *(part[rows != row] for part in given_)) for row in rows]
    np.testing.assert_allclose(found, want, atol=1e-12)


def test_without_each_image_in_chunks(monkeypatch):
    statistic = metrics.f1(*draw(5, 60, 7)[:2])
    whole = statistic.without_each()
    monkeypatch.setattr(intervals, "AT_ONCE", 50)
    np.testing.assert_allclose(statistic.without_each(), whole)


# --- intervals


def scipys(samples, measure, draws):
    """SciPy's BCa of rows, by the same resamples."""
    some = [np.arange(len(rows)) for rows in samples]
    # It makes resamples of its own: only their distribution is kept.
    first = stats.bootstrap(
        some, measure, n_resamples=2, method="basic", vectorized=False, paired=False
    )
    first.bootstrap_distribution = draws
    found = stats.bootstrap(
        some,
        measure,
        n_resamples=0,
        bootstrap_result=first,
        method="BCa",
        vectorized=False,
        paired=False,
    )
    return tuple(found.confidence_interval)


@pytest.mark.parametrize("name", ["mean", "f1", "class_mean"])
@pytest.mark.parametrize("skill", [0.5, 0.95])
def test_the_interval_is_scipys_bca(name, skill):
    given_ = draw(4, 90, 5, skill)
    statistic = of_all_classes(name)(*given_)
    draws = resampled({"": statistic}, 500)[""]
    want = scipys([given_[0]], lambda rows: plain(name, *(p[rows] for p in given_)), draws)
    assert interval(statistic, draws) == pytest.approx(want, abs=1e-12)


def test_the_interval_of_a_ratio_is_scipys_bca():
    rng = np.random.default_rng(2)
    above, below = rng.random(70) < 0.4, rng.random(110) < 0.9
    pairs = []
    for seed, right in enumerate((above, below)):
        statistic = metrics.mean(right)
        pairs.append((statistic, resampled({"": statistic}, 500, seed)[""]))
    draws = pairs[0][1] / pairs[1][1]

    def ratio(first, second):
        return above[first].mean() / below[second].mean()

    want = scipys([above, below], ratio, draws)
    assert interval_of_ratio(*pairs) == pytest.approx(want, abs=1e-12)
    with pytest.raises(ConfigError, match="no ratio"):
        interval_of_ratio(pairs[0], (metrics.mean(np.zeros(3)), np.zeros(500)))


def test_the_interval_of_a_mean_is_the_textbooks():
    values = np.random.default_rng(5).normal(3, 2, 500)
    low, high = interval(metrics.mean(values), resampled({"": metrics.mean(values)})[""])
    error = values.std(ddof=1) / np.sqrt(500)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.25 * error
    )


def test_half_of_the_truths_lie_in_half_an_interval():
    rng = np.random.default_rng(0)
    sets = {number: metrics.mean(rng.normal(0, 1, 60)) for number in range(400)}
    held = 0
    for number, draws in resampled(sets, 400).items():
        low, high = interval(sets[number], draws, 0.5)
        held += low <= 0 <= high
    assert 0.42 < held / 400 < 0.58


@pytest.mark.parametrize("n", [1, 20])
def test_all_right_or_none_has_a_one_sided_interval(n):
    """Were the accuracy at the end of it, so extreme a result would have a chance of 5 %."""
    for right in (True, False):
        statistic = metrics.mean(np.full(n, right))
        low, high = interval(statistic, resampled({"": statistic}, 20)[""])
        sure, other = (high, low) if right else (low, high)
        assert sure == float(right)
        assert abs(sure - other) < 1
        assert (1 - abs(sure - other)) ** n == pytest.approx(0.05)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_values_that_do_not_differ_have_no_spread(value):
    statistic = metrics.mean(np.full(9, value))
    assert interval(statistic, resampled({"": statistic}, 50)[""]) == (value, value)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(0, 0.5))
@example(seed=1, n=2, off=0.0)  # the median of two noisy bins lies below both
def test_the_interval_of_an_ece_holds_it_plain_and_debiased(seed, n, off):
    rng = np.random.default_rng(seed)
    confidence = rng.random(n)
    correct = rng.random(n) < np.clip(confidence + off, 0, 1)
    statistic = calibration_error(confidence, correct)
    low, high = interval(statistic, np.zeros(1))
    error = ErrorOfBins.of(statistic)
    assert error.value == pytest.approx(statistic.value) == pytest.approx(ece(confidence, correct))
    assert error.debiased == debiased_ece(confidence, correct)
    assert 0 <= low <= error.debiased <= error.value + 1e-12
    assert error.value <= high + 1e-12


def test_the_standard_error_of_a_bin_is_that_of_a_mean():
    rng = np.random.default_rng(1)
    confidence, correct = rng.random(50), rng.random(50) < 0.5
    error = ErrorOfBins.of(calibration_error(confidence, correct, bins=4))
    for place in range(4):
        in_bin = (confidence * 4).astype(int) == place
        gaps = np.where(in_bin, correct - confidence, 0)
        assert error.gap[place] == pytest.approx(abs(gaps.mean()))
        assert error.error[place] == pytest.approx(gaps.std() / np.sqrt(50))


def test_the_debiased_ece_is_the_median_of_what_it_would_draw():
    error = ErrorOfBins(np.array([0.05, 0.02, 0.01]), np.array([0.01, 0.02, 0.01]))
    scale = error.debiased / error.value
    assert 0 < scale < 1
    noise = error.error * np.random.default_rng(9).standard_normal((200_000, 3))
    drawn = np.abs(scale * error.gap + noise).sum(1)
    assert np.mean(drawn < error.value) == pytest.approx(0.5, abs=0.02)


def test_an_ece_without_noise_is_itself():
    confident = calibration_error(np.ones(5), np.ones(5, bool))
    assert interval(confident, np.zeros(1)) == (0, 0)
    assert ErrorOfBins(np.array([0.1]), np.array([0.0])).interval(0.95) == pytest.approx(
        (0.1, 0.1), abs=1e-5
    )


# --- how often they hold the truth

TRIALS = 200
CHANCE = 1e-4  # that a test fails though all is well: some 25 of them are made


@pytest.mark.parametrize("world", worlds(), ids=lambda world: f"{world.statistic} {world.name}")
def test_intervals_hold_the_truth(world):
    """So many of 200 trials as a true coverage of 93 to 97 % would give by chance.

    An interval may be wider than that near a boundary: there no trial at all may be lost.
    """
    held = covered(world, 200, TRIALS).sum()
    assert held >= stats.binom.ppf(CHANCE, TRIALS, 0.93)
    if world.statistic != "ECE":
        assert held <= stats.binom.ppf(1 - CHANCE, TRIALS, 0.97)


def test_the_percentile_interval_of_an_ece_does_not():
    """What the intervals were before: 0 of 100 hold the truth of a calibrated model."""
    world = next(world for world in worlds() if world.at_boundary)
    rng = np.random.default_rng(0)
    drawn = {trial: world.draw(rng, 400) for trial in range(100)}
    held = [np.quantile(draws, 0.025) <= 0 for draws in resampled(drawn, 200).values()]
    assert sum(held) == 0
