"""Numbers from predictions. All fractions, not percent; N images."""

from __future__ import annotations

import numpy as np

from .errors import ConfigError


def accuracy(prediction: np.ndarray, label: np.ndarray) -> float:
    """Top-1 accuracy: the fraction of the N predictions that equal their label."""
    return float(np.mean(_some(prediction) == label))


def nll(values: np.ndarray) -> float:
    """Mean negative log-likelihood of the true classes, in nats."""
    return float(np.mean(_some(values)))


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: sum over equal-width bins of n_b / N * |accuracy_b - confidence_b|.

    confidence (N,) of the top-1 class, correct (N,) bool. Source: Guo et al., arXiv:1706.04599.
    """
    place = np.minimum((_some(confidence) * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=np.asarray(correct, dtype=float) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def relative_accuracy(shift: float, reference: float) -> float:
    """Accuracy under shift as a fraction of the reference accuracy; raises ConfigError where that is zero."""
    if reference <= 0:
        raise ConfigError("relative accuracy needs a reference accuracy above 0; this model gets nothing right")
    return shift / reference


def _some(values: np.ndarray) -> np.ndarray:
    if len(values) == 0:
        raise ConfigError("no images to measure: the split is empty or every image was skipped")
    return np.asarray(values)
