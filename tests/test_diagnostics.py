"""Diagnostics against NumPy and SciPy."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from clipft.diagnostics import correlation, energy_gap, feature_distortion
from clipft.energies import second_moment, unit
from clipft.errors import ConfigError

sizes = st.tuples(st.integers(1, 8), st.integers(1, 10), st.integers(2, 12))
seeds = st.integers(0, 2**32 - 1)


def embeddings(seed, *shape):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape) * 4)


def rows_of_length_one(x):
    x = np.asarray(x)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@settings(deadline=None)
@given(sizes, seeds, st.floats(0.1, 100))
def test_energy_gap_by_texts_by_moment_and_by_hand(size, seed, scale):
    n, m, d = size
    images, anchors, texts = embeddings(seed, n, d), embeddings(seed + 1, n, d), unit(embeddings(seed + 2, m, d))
    matrix = scale * (rows_of_length_one(images) - rows_of_length_one(anchors)) @ texts.numpy().T  # (N, M)
    by_texts = energy_gap(images, anchors, texts, scale)
    by_moment = energy_gap(images, anchors, moment=second_moment(texts, scale))
    np.testing.assert_allclose(by_texts, (matrix**2).mean(1), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(by_moment, (matrix**2).mean(1), rtol=1e-6, atol=1e-9)


@settings(deadline=None)
@given(sizes, seeds)
def test_feature_distortion(size, seed):
    n, _, d = size
    images, anchors = embeddings(seed, n, d), embeddings(seed + 1, n, d)
    raw = np.linalg.norm(images.numpy() - anchors.numpy(), axis=1)
    normalised = np.linalg.norm(rows_of_length_one(images) - rows_of_length_one(anchors), axis=1)
    np.testing.assert_allclose(feature_distortion(images, anchors), raw, rtol=1e-9)
    np.testing.assert_allclose(feature_distortion(images, anchors, normalised=True), normalised, rtol=1e-7, atol=1e-9)


def test_length_alone_is_distortion_but_no_energy_gap():
    images, texts = embeddings(0, 5, 8), unit(embeddings(1, 6, 8))
    longer = 2 * images
    np.testing.assert_allclose(energy_gap(longer, images, texts, 100.0), 0, atol=1e-20)
    np.testing.assert_allclose(feature_distortion(longer, images), images.norm(dim=-1))
    np.testing.assert_allclose(feature_distortion(longer, images, normalised=True), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, t: energy_gap(x, x), "needs texts"),
        (lambda x, t: energy_gap(x, x, t[:, :-1]), "images have 8 dimensions, texts 7"),
        (lambda x, t: energy_gap(x, x[:-1], t), r"\(5, 8\) and \(4, 8\)"),
        (lambda x, t: feature_distortion(x, x[:-1]), r"\(5, 8\) and \(4, 8\)"),
    ],
)
def test_what_does_not_fit(call, words):
    with pytest.raises(ConfigError, match=words):
        call(embeddings(0, 5, 8), unit(embeddings(1, 6, 8)))


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e3, 1e3).map(lambda v: round(v, 3))] * 2), min_size=4, max_size=40))
def test_correlation_is_pearsons(points):
    x, y = np.array(points).T
    assume(np.ptp(x) > 0.1 and np.ptp(y) > 0.1)
    theirs, found = stats.pearsonr(x, y), correlation(x, y)
    interval = theirs.confidence_interval(0.95)
    want = (theirs.statistic, interval.low, interval.high)
    assert (found.r, found.low, found.high) == pytest.approx(want, abs=1e-12)
    assert found.n == len(points)


def test_the_interval_is_fishers():
    x, y = np.arange(10.0), np.array([0, 2, 1, 3, 5, 4, 6, 9, 8, 7.0])
    found = correlation(x, y)
    z = np.arctanh(np.corrcoef(x, y)[0, 1])
    assert (found.low, found.high) == pytest.approx(tuple(np.tanh(z + np.array([-1, 1]) * 1.959964 / np.sqrt(7))))
    assert str(found) == f"r = {found.r:.2f} [{found.low:.2f}, {found.high:.2f}], n = 10"


@pytest.mark.parametrize(
    ("x", "y"),
    [([], []), ([1], [2]), ([1, 2], [1, 2]), ([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2, 3, 4], [0.1] * 4)],
)
def test_correlation_that_does_not_exist(x, y):
    found = correlation(x, y)
    assert np.isnan([found.r, found.low, found.high]).all()
    assert str(found) == f"r undefined (n = {len(x)})"


def test_three_points_have_no_interval():
    found = correlation([1, 2, 3], [1, 2, 2])
    assert found.r == pytest.approx(np.sqrt(3) / 2)
    assert (found.low, found.high) == (-1, 1)


def test_correlation_wants_pairs():
    with pytest.raises(ConfigError, match="one y for each x"):
        correlation([1, 2, 3], [1, 2])
