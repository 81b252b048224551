"""Energies: the form without a matrix over texts equals the one with it and the plain sums."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from clipft.diagnostics.energies import (
    energy_vectors,
    quadratic_gap,
    second_moment,
    squared_gap,
    unit,
)

# N images, M texts, D dimensions
sizes = st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 16))
seeds = st.integers(0, 2**32 - 1)


def unit_rows(seed, n, d):
    rows = np.random.default_rng(seed).standard_normal((n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@settings(deadline=None)
@given(sizes, seeds, st.floats(0.01, 100))
def test_both_forms_equal_the_plain_sums(size, seed, scale):
    n, m, d = size
    f = unit_rows(seed, n, d)
    f0 = unit_rows(seed + 1, n, d)
    t = unit_rows(seed + 2, m, d)
    plain = []
    for i in range(n):
        plain.append(sum((scale * f[i] @ t[k] - scale * f0[i] @ t[k]) ** 2 for k in range(m)) / m)
    images, anchors, texts = (torch.tensor(rows) for rows in (f, f0, t))
    by_vectors = squared_gap(
        energy_vectors(images, texts, scale), energy_vectors(anchors, texts, scale)
    )
    by_moment = quadratic_gap(images, anchors, second_moment(texts, scale))
    np.testing.assert_allclose(by_vectors, plain, rtol=1e-9, atol=1e-12 * scale**2)
    np.testing.assert_allclose(by_moment, plain, rtol=1e-9, atol=1e-12 * scale**2)


@settings(deadline=None)
@given(st.tuples(st.integers(8, 64), st.integers(1, 300), st.integers(2, 128)), seeds)
def test_the_mean_gap_agrees_in_single_precision(size, seed):
    n, m, d = size
    images, anchors, texts = (
        torch.tensor(unit_rows(seed + i, k, d)).float() for i, k in enumerate((n, n, m))
    )
    by_vectors = squared_gap(
        energy_vectors(images, texts, 100.0), energy_vectors(anchors, texts, 100.0)
    )
    by_moment = quadratic_gap(images, anchors, second_moment(texts, 100.0))
    # the mean over images is what is reported; one image that hardly moved loses digits in the
    # N x M form
    assert float(by_moment.mean()) == pytest.approx(float(by_vectors.mean()), rel=1e-5)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(2, 32), seeds, st.sampled_from([1.0, 100.0]))
def test_the_gap_is_never_below_nothing(m, d, seed, scale):
    """The change lies where no text does, so the gap is 0: what is found of it is rounding."""
    draw = np.random.default_rng(seed)
    texts = np.zeros((m, d))
    texts[:, 0] = 1
    basis, _ = np.linalg.qr(draw.standard_normal((d, d)))
    change = np.zeros((64, d))
    change[:, 1:] = draw.standard_normal((64, d - 1))
    texts, change = (torch.tensor(rows @ basis).float() for rows in (texts, change))
    gap = quadratic_gap(change, torch.zeros_like(change), second_moment(texts, scale))
    assert (gap >= 0).all()
    torch.testing.assert_close(gap, torch.zeros(64), rtol=0, atol=1e-4 * scale**2 * d)


def test_a_gap_that_is_not_known_stays_unknown():
    moment = torch.full((3, 3), float("nan"))
    assert quadratic_gap(torch.ones(2, 3), torch.zeros(2, 3), moment).isnan().all()


def test_untuned_means_no_gap():
    images = unit(torch.randn(5, 8))
    texts = unit(torch.randn(7, 8))
    assert torch.equal(quadratic_gap(images, images, second_moment(texts, 100.0)), torch.zeros(5))


def test_the_scale_enters_squared():
    images, anchors, texts = (unit(torch.randn(4, 8, dtype=torch.float64)) for _ in range(3))
    one, ten = (
        quadratic_gap(images, anchors, second_moment(texts, scale)) for scale in (1.0, 10.0)
    )
    torch.testing.assert_close(ten, 100 * one)


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e4])
def test_unit(length):
    row = torch.tensor([[3.0, 4.0]]) * length
    torch.testing.assert_close(unit(row), torch.tensor([[0.6, 0.8]]))
