"""Two models on the same images: McNemar's test. Two methods over seeds: their difference."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ConfigError
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


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference of n pairs with its 95 % interval, not a number where n is 1."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def points(self) -> str:
        """Of fractions, in points with one digit: `+10.0 points [2.1, 17.9], n = 2`."""
        mean = f"{100 * self.mean:+.1f} points"
        if self.n < 2:
            return f"{mean}, n = 1"
        return f"{mean} [{100 * self.low:.1f}, {100 * self.high:.1f}], n = {self.n}"


def paired_difference(first: ArrayLike, second: ArrayLike) -> PairedDifference:
    """Second minus first over pairs (n,), (n,): of two methods by seed, say, a pair for each seed.

        d -+ t s / sqrt(n),    d and s mean and standard deviation of the n differences,

    t the 0.975 quantile of Student's t with n - 1 degrees of freedom; one pair has no interval.
    Source: Student, Biometrika 1908. Raises ConfigError where the numbers differ or are 0.
    """
    from scipy import stats

    first = np.asarray(first, dtype=float)
    second = np.asarray(second, dtype=float)
    if len(first) == 0 or len(first) != len(second):
        raise ConfigError(f"{len(first)} and {len(second)} values; wanted: some pairs")
    differences = second - first
    n = len(differences)
    mean_difference = float(differences.mean())
    if n < 2:
        return PairedDifference(mean_difference, low=np.nan, high=np.nan, n=n)
    reach = float(stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return PairedDifference(
        mean_difference, low=mean_difference - reach, high=mean_difference + reach, n=n
    )


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
