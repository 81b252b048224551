"""Two models on the same images: McNemar's test and the paired interval of their difference."""

from dataclasses import dataclass

import numpy as np

from .accuracy import mean
from .intervals import checked, interval, resampled


@dataclass(frozen=True)
class Comparison:
    """Accuracies of two models on N images, how many each alone gets right, McNemar's p.

    p: exact, two-sided. difference: second minus first, with its paired interval: BCa, see
    `intervals.bca`.
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

    p is the chance of so uneven a split of the images on which they differ, were either as likely
    (exact binomial test). Source: McNemar, Psychometrika 1947. Raises ConfigError where the
    numbers of images differ.
    """
    from scipy import stats

    first = np.asarray(checked(first, second), bool)
    second = np.asarray(second, bool)

    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    differ = only_first + only_second
    p = float(stats.binomtest(only_first, differ).pvalue) if differ else 1.0

    change = mean(second.astype(float) - first)
    low, high = interval(change, resampled({"change": change})["change"])
    return Comparison(
        n=len(first),
        first=float(first.mean()),
        second=float(second.mean()),
        only_first=only_first,
        only_second=only_second,
        p=p,
        difference=change.value,
        low=low,
        high=high,
    )
