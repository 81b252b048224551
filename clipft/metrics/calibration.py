"""How far confidence is from accuracy: expected calibration error and reliability diagrams.

Source: Guo et al., arXiv:1706.04599.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError
from .intervals import Statistic, checked, one_hot

BINS = 15  # of equal width


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Statistic:
    """Expected calibration error, see `ece`."""
    gaps = np.asarray(correct, dtype=float) - _fractions(confidence, correct)
    return Statistic(one_hot(bin_of(confidence, bins), bins, gaps), _error_of_sums)


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: sum over bins of n_b / N * |accuracy_b - confidence_b|.

    confidence (N,) of the top-1 class, correct (N,) bool. Raises ConfigError for a confidence that
    is no fraction.
    """
    return calibration_error(confidence, correct, bins).value


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: edges, images, mean confidence and accuracy (nan if empty) of bins."""

    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Accuracy against confidence in bins, what `ece` sums up."""
    place = bin_of(_fractions(confidence, correct), bins)
    edges = np.linspace(0, 1, bins + 1)
    count = np.bincount(place, minlength=bins)
    count_or_nan = np.where(count, count, np.nan)

    stated = np.bincount(place, np.asarray(confidence, float), bins) / count_or_nan
    reached = np.bincount(place, np.asarray(correct, float), bins) / count_or_nan
    return Reliability(edges[:-1], edges[1:], count, confidence=stated, accuracy=reached)


def _fractions(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """The confidences themselves; raises ConfigError where one is outside 0 ... 1, or no number."""
    values = np.asarray(checked(confidence, correct), dtype=float)
    odd = values[~((values >= 0) & (values <= 1))]  # nan is not
    if len(odd):
        more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise ConfigError(
            f"a confidence is {odd[0]:g}{more}; expected probabilities, 0 ... 1: logits go through"
            " softmax, percent are divided by 100"
        )
    return values


def bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each confidence, 1 in the last: (N,)."""
    return np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)


def _error_of_sums(sums: np.ndarray, images: int) -> np.ndarray:
    return np.abs(sums).sum(1) / images
