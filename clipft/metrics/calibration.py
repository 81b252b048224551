"""TODO: docstring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .intervals import Statistic, _one_hot, _some


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Statistic:
    """Expected calibration error, see `ece`."""
    gaps = np.asarray(correct, dtype=float) - _some(confidence, correct)
    return Statistic(
        _one_hot(_bin(confidence, bins), bins, gaps), lambda sums, n: np.abs(sums).sum(1) / n
    )


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: sum over equal-width bins of n_b / N * |accuracy_b - confidence_b|.

    confidence (N,) of the top-1 class, correct (N,) bool. Source: Guo et al., arXiv:1706.04599.
    """
    return calibration_error(confidence, correct, bins).value


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: per bin its edges, images, mean confidence and accuracy (nan where it is empty)."""

    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Reliability:
    """Accuracy against confidence in equal-width bins, what `ece` sums up. Source: Guo et al., arXiv:1706.04599."""
    place, edges = _bin(_some(confidence, correct), bins), np.linspace(0, 1, bins + 1)
    count = np.bincount(place, minlength=bins)
    full = np.where(count, count, np.nan)
    means = (
        np.bincount(place, np.asarray(values, float), bins) / full
        for values in (confidence, correct)
    )
    return Reliability(edges[:-1], edges[1:], count, *means)


def _bin(confidence: np.ndarray, bins: int) -> np.ndarray:
    return np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
