"""How far confidence is from accuracy: expected calibration error and reliability diagrams.

Source: Guo et al., arXiv:1706.04599.
"""

from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np

from ..errors import ConfigError
from .intervals import Statistic, checked, one_hot

BINS = 15  # of equal width
GAUSSIANS = 2000  # draws of the noise of all bins
HALVINGS = 16  # of the range in which an end is sought: 1e-5 of it is left


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Statistic:
    """Expected calibration error, see `ece`; its interval is that of `ErrorOfBins`."""
    gaps = np.asarray(correct, dtype=float) - _fractions(confidence, correct)
    parts = one_hot(bin_of(confidence, bins), bins, gaps)
    return Statistic(parts, _error_of_sums, own=_interval_of_error)


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


@dataclass(frozen=True)
class ErrorOfBins:
    """The ECE as a sum of noisy gaps, sum_b |g_b|: what its truth may be.

    gap (B,): |g_b|, the sum of correct - confidence of the bin's images / N. error (B,): the
    standard error of g_b. Noise adds to the ECE and never takes away: a calibrated model has an
    ECE above 0, and resamples have more noise than the images themselves. So neither a percentile
    nor a BCa interval holds the truth (at an ECE of 0: in none of 500 simulations), the basic
    bootstrap in 37 to 98 % of them.

    Instead a test is inverted. True gaps are supposed to be s r_b on a ray r, s >= 0; then the
    estimate is distributed as

        T(s) = sum_b |s r_b + error_b z_b|,    z_b independent standard normal,

    and what s can be is told by where the observed ECE lies in T(s), which rises with s. The ECE
    at s is s sum_b r_b; s = 0 is the boundary, where an interval is one-sided.

    The ray is not known, and the bias depends on it: few bins with a gap have more bias than many.
    So each end takes the ray that moves it outward: for the low end only bins whose gap is beyond
    two standard errors have one, for the high end each has sqrt(g_b^2 + error_b^2 / 4). Ray g
    alone covers 64 to 97 % (few bins: worst), both rays 93 to 98 %.

    Sources: inversion of a test, Lehmann and Romano, Testing Statistical Hypotheses, 2005, section
    3.5; median-unbiased: ibid.; the bias of the ECE: Kumar et al., arXiv:1909.10155. The two rays
    are ours, chosen by simulation (tests/metrics/coverage_table.py).
    """

    gap: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, statistic: Statistic) -> Self:
        """Of the Statistic `calibration_error`."""
        n = statistic.parts.shape[0]
        gap = np.asarray(statistic.parts.sum(0)).reshape(-1) / n
        square = np.asarray(statistic.parts.power(2).sum(0)).reshape(-1) / n
        variance = np.maximum(square - gap**2, 0) / n
        return cls(np.abs(gap), np.sqrt(variance))

    @property
    def value(self) -> float:
        """The plain ECE."""
        return float(self.gap.sum())

    @property
    def debiased(self) -> float:
        """The ECE of which the observed one is the median: as often above the truth as below.

        Never above the plain one: of two or three images half the noise can take away.
        """
        return min(self._truth(self.gap, 0.5), self.value)

    def interval(self, level: float) -> tuple[float, float]:
        """The ECEs that the observed one does not refute; it holds the plain and the debiased ECE.

        At small errors the plain ECE can be above all of them: then it is the high end.
        """
        clear = self.gap * (self.gap > 2 * self.error)
        if not clear.any():
            clear = self.gap * (self.gap == self.gap.max())
        low = self._truth(clear, (1 + level) / 2)
        high = self._truth(np.sqrt(self.gap**2 + self.error**2 / 4), (1 - level) / 2)
        debiased = self.debiased
        return min(low, debiased, self.value), max(high, debiased, self.value)

    def _truth(self, ray: np.ndarray, quantile: float) -> float:
        """The ECE on a ray at which the observed one is this quantile of T(s); 0 below all."""
        noise = self.error[:, None] * _gaussians(len(self.error))  # (B, draws)
        gaps = np.empty_like(noise)
        place = quantile * (GAUSSIANS - 1)  # of the quantile among the sorted draws

        def is_below(s: float) -> bool:
            np.abs(np.add(noise, s * ray[:, None], out=gaps), out=gaps)
            draws = gaps.sum(0)
            count = np.count_nonzero(draws < self.value)
            if abs(count - place) > 1:  # counting says as much, and is faster
                return bool(count > place)
            return bool(np.quantile(draws, quantile) < self.value)

        if not is_below(0):
            return 0.0
        low, high = 0.0, 1.0
        while is_below(high):
            low, high = high, 2 * high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if is_below(middle):
                low = middle
            else:
                high = middle
        return float((low + high) / 2 * ray.sum())


def debiased_ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """The median-unbiased ECE, see `ErrorOfBins`; arguments as of `ece`."""
    return ErrorOfBins.of(calibration_error(confidence, correct, bins)).debiased


def _interval_of_error(statistic: Statistic, level: float) -> tuple[float, float]:
    return ErrorOfBins.of(statistic).interval(level)


@cache
def _gaussians(bins: int) -> np.ndarray:
    draws = np.random.default_rng(0).standard_normal((GAUSSIANS, bins))
    return np.ascontiguousarray(draws.T)  # (bins, draws): sums over bins are sums of long rows


def _error_of_sums(sums: np.ndarray, images: int) -> np.ndarray:
    return np.abs(sums).sum(1) / images
