"""TODO: docstring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .accuracy import mean
from .intervals import _some, interval, resampled


@dataclass(frozen=True)
class Comparison:
    """Two models on the same N images: accuracies, how many each alone gets right, McNemar's exact two-sided p.

    difference: second minus first, with its paired bootstrap interval.
    """

    n: int
    first: float
    second: float
    only_first: int
    only_second: int
    p: float
    difference: float
    low: float
    high: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compare two models on the same images: (N,), (N,) bool, whether each is right.

    p is the chance of so uneven a split of the images on which they differ, were either as likely (exact binomial
    test). Source: McNemar, Psychometrika 1947. Raises ConfigError where the numbers of images differ.
    """
    first, second = np.asarray(_some(first, second), bool), np.asarray(second, bool)
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0
    change = mean(second.astype(float) - first)
    low, high = interval(resampled({"": change})[""])
    return Comparison(
        len(first), float(first.mean()), float(second.mean()), b, c, p, change.value, low, high
    )
