"""Geometry of embeddings and linear CKA against NumPy transcriptions, and at their limits."""

import math

import numpy as np
import pytest
import torch

from clipft.diagnostics import geometry
from clipft.diagnostics.cka import LinearCKA, linear_cka
from clipft.diagnostics.geometry import alignment, modality_gap, sigma_min, uniformity


def embeddings(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0.3, 1, shape)).float()


def unit_rows(x):
    x = x.double().numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("at_once", [1, 5, 1000])
def test_numbers_are_those_of_plain_loops(monkeypatch, at_once):
    monkeypatch.setattr(geometry, "ROWS", at_once)
    images, classes = embeddings(23, 6), embeddings(4, 6, seed=1)
    labels = torch.arange(23) % 4
    f, g = unit_rows(images), unit_rows(classes)
    assert modality_gap(images, classes) == pytest.approx(np.linalg.norm(f.mean(0) - g.mean(0)))
    squares = [((f[n] - g[n % 4]) ** 2).sum() for n in range(23)]
    assert alignment(images, classes, labels) == pytest.approx(np.mean(squares))
    kernel = []
    for i in range(23):
        for j in range(23):
            if i != j:
                kernel.append(np.exp(-2 * ((f[i] - f[j]) ** 2).sum()))
    assert uniformity(images) == pytest.approx(np.log(np.mean(kernel)), rel=1e-5)
    smallest = np.linalg.svd(np.cov(f.T, bias=True), compute_uv=False)[-1]
    assert sigma_min(images) == pytest.approx(smallest)


def test_limits_of_the_geometry():
    alike = torch.ones(5, 3)
    assert uniformity(alike) == pytest.approx(0, abs=1e-6)
    assert modality_gap(alike, 7 * alike) == pytest.approx(0, abs=1e-6)
    assert modality_gap(alike, -alike) == pytest.approx(2)
    assert alignment(alike, -alike, torch.zeros(5, dtype=int)) == pytest.approx(4)
    poles = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert uniformity(poles) == pytest.approx(-8)  # exp(-2 * 2^2)
    assert sigma_min(embeddings(3, 8)) == pytest.approx(0, abs=1e-12)
    assert math.isnan(uniformity(alike[:1]))


def hsic_form(x, y):
    """Kornblith et al., equation 3 with linear kernels: N x N matrices, centred by H."""
    x, y = x.double().numpy(), y.double().numpy()
    n = len(x)
    h = np.eye(n) - np.ones((n, n)) / n

    def hsic(k, other):
        return np.trace(k @ h @ other @ h) / (n - 1) ** 2

    k, other = x @ x.T, y @ y.T
    return hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))


def test_cka_of_chunks_is_the_form_with_kernels():
    x, y = embeddings(40, 7), embeddings(40, 5, seed=1)
    want = hsic_form(x, y)
    assert linear_cka(x, y) == pytest.approx(want)
    streamed = LinearCKA()
    for rows in torch.arange(40).split(9):
        streamed.add(x[rows], y[rows])
    assert streamed.value == pytest.approx(want) and streamed.count == 40


def test_cka_is_1_of_rotated_scaled_and_shifted():
    x = embeddings(30, 6)
    rotation = torch.linalg.qr(embeddings(6, 6, seed=2))[0]
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x, 3 * x @ rotation + 5) == pytest.approx(1, rel=1e-5)
    y = embeddings(30, 6, seed=3)
    assert linear_cka(x, y) == pytest.approx(linear_cka(2 * x @ rotation, y), rel=1e-5)
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x))
    assert 0 < linear_cka(x, y) < 1


def test_cka_of_nothing_is_no_number():
    assert math.isnan(LinearCKA().value)
    assert math.isnan(linear_cka(torch.zeros(4, 2), embeddings(4, 2)))
