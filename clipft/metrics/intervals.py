"""Bootstrap intervals of whatever depends on images through sums: resample once, sum, finish.

The intervals are BCa (bias-corrected and accelerated), see `bca`. How often they hold the truth is
simulated by `tests/metrics/coverage_table.py`; the table is in tests/README.md.
Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 11 and 14.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..errors import ConfigError

if TYPE_CHECKING:
    from scipy import sparse

RESAMPLES = 1000
LEVEL = 0.95
AT_ONCE = 4_000_000  # image counts of resamples, or sums without an image, in memory: 64 MB

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Statistic:
    """A number that depends on images through sums alone.

    parts (N, K): what each image adds to K sums, as small as its numbers are; sums are fp64.
    finish: sums (B, K) and N to values (B,). own: its interval at a level, where BCa would not
    hold; None: BCa.
    """

    parts: Any  # an array or a sparse one; SciPy's have no types
    finish: Callable[[np.ndarray, int], np.ndarray]
    own: Callable[[Statistic, float], tuple[float, float]] | None = None

    def of(self, counts: np.ndarray) -> np.ndarray:
        """Its value where image n stands counts[b, n] times: (B, N) -> (B,)."""
        return self.finish((self._exact_parts().T @ counts.T).T, self.parts.shape[0])

    @property
    def value(self) -> float:
        """Its value on the images themselves."""
        return float(self.of(np.ones((1, self.parts.shape[0])))[0])

    def without_each(self) -> np.ndarray:
        """Its value without image n: (N,). Images that add the same are computed once."""
        n, width = self.parts.shape
        if n < 2:
            return np.full(n, self.value)

        # Equal rows have equal keys; that two others have is next to impossible.
        keys = self._exact_parts() @ np.random.default_rng(0).random(width)
        _, rows, place = np.unique(keys, return_index=True, return_inverse=True)
        sums = (self._exact_parts().T @ np.ones((n, 1))).T  # (1, K)
        values = []
        chunk = max(1, AT_ONCE // width)
        for start in range(0, len(rows), chunk):
            parts = self.parts[rows[start : start + chunk]]
            dense = parts if isinstance(parts, np.ndarray) else parts.toarray()
            values.append(self.finish(sums - dense, n - 1))
        return np.concatenate(values)[place]

    def _exact_parts(self) -> Any:
        """The parts as they are added up; of sparse ones SciPy makes fp64 itself."""
        return self.parts.astype(float) if isinstance(self.parts, np.ndarray) else self.parts


def resampled(
    statistics: Mapping[Name, Statistic], resamples: int = RESAMPLES, seed: int = 0
) -> dict[Name, np.ndarray]:
    """Each statistic on the same resamples of its N images, drawn with replacement: name -> (B,).

    All must be of the same images; the draws depend on N and the seed alone, so statistics of two
    models on one split are paired.
    """
    (n,) = {statistic.parts.shape[0] for statistic in statistics.values()}
    random = np.random.default_rng([seed, n])
    chunk = max(1, AT_ONCE // n)

    chunks: dict[Name, list[np.ndarray]] = {name: [] for name in statistics}
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        counts = resample_counts(random, size, n)
        for name, statistic in statistics.items():
            chunks[name].append(statistic.of(counts))

    return {name: np.concatenate(values) for name, values in chunks.items()}


def resample_counts(random: np.random.Generator, size: int, n: int) -> np.ndarray:
    """How often each image is in each of `size` resamples: (size, N)."""
    picks = random.integers(0, n, (size, n))
    # Resample b counts its images in a range of its own, so one bincount serves all of them.
    picks += n * np.arange(size)[:, None]
    counted = np.bincount(picks.reshape(-1), minlength=size * n).reshape(size, n)
    del picks
    # In this order sparse parts multiply it without a copy of their own.
    return np.asfortranarray(counted, dtype=float)


def interval(statistic: Statistic, draws: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a statistic by its values on resamples (B,): BCa, or its own."""
    if statistic.own is not None:
        return statistic.own(statistic, level)
    return bca(statistic.value, draws, [statistic.without_each()], level)


def of_repeats(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean of two or more repeats: mean -+ t s / sqrt(R).

    It holds for repeats that are about normal, whatever their number.
    """
    from scipy import stats

    count = len(values)
    error = float(np.std(values, ddof=1)) / count**0.5
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    mean = float(np.mean(values))
    return mean - half, mean + half


def interval_of_ratio(
    above: tuple[Statistic, np.ndarray], below: tuple[Statistic, np.ndarray], level: float = LEVEL
) -> tuple[float, float]:
    """BCa interval of the ratio of two statistics, each with its values on resamples (B,).

    They are of two samples, drawn independently. A resample in which the lower one is 0 has no
    ratio and is left out. Raises ConfigError where that is so of the samples themselves.
    """
    first, first_draws = above
    second, second_draws = below
    if not second.value:
        raise ConfigError("no ratio to a value of 0")

    some = second_draws != 0
    ratios = first_draws[some] / second_draws[some]
    # Without the one image that makes it more than 0 there is no ratio: as if it stayed.
    rest = second.without_each()
    rest = np.where(rest != 0, rest, second.value)
    without = [first.without_each() / second.value, first.value / rest]
    return bca(first.value / second.value, ratios, without, level)


def bca(
    value: float, draws: np.ndarray, without: Sequence[np.ndarray], level: float = LEVEL
) -> tuple[float, float]:
    """The bias-corrected and accelerated interval of a value by its resamples (B,).

    The ends are quantiles of the resamples, at

        Phi(z0 + (z0 + z) / (1 - a (z0 + z))),    z = Phi^-1((1 -+ level) / 2).

    z0 corrects the bias: Phi(z0) is the fraction of resamples below the value, ties count half.
    a, the acceleration, corrects that the spread changes with the value. It comes from the values
    without each image (the jackknife), u_i = (n - 1) (mean - value without i):

        a = sum_i u_i^3 / n^3 / (6 (sum_i u_i^2 / n^2)^1.5),

    both sums over all of several independent samples. Sources: Efron, JASA 1987; Efron and
    Tibshirani 1993, (14.9), (14.14) and (14.15); several samples: Davison and Hinkley, Bootstrap
    Methods and their Application, 1997, section 5.3.2.

    without: the values without each image, (N,) for each sample.
    """
    from scipy import special

    near = np.abs(draws - value) <= 1e-9 * max(abs(value), np.ptp(draws))
    below = np.mean((draws < value) & ~near) + np.mean(near) / 2
    most = 1 - 0.5 / len(draws)
    shift = special.ndtri(np.clip(below, 1 - most, most))

    cubes = 0.0
    squares = 0.0
    for values in without:
        n = len(values)
        pull = (n - 1) * (values.mean() - values) / n  # u_i / n
        cubes += (pull**3).sum()
        squares += (pull**2).sum()
    # Rounding alone has no skewness to correct.
    has_spread = squares > (1e-12 * max(abs(value), 1e-300)) ** 2
    acceleration = cubes / (6 * squares**1.5) if has_spread else 0.0

    z = shift + special.ndtri([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(draws, special.ndtr(shift + z / (1 - acceleration * z)))
    return float(low), float(high)


def one_hot(column: np.ndarray, size: int, values: np.ndarray | None = None) -> sparse.csr_array:
    """One entry a row, in the given column (N,), of value 1 unless given (N,): sparse (N, size).

    Truths, and ones, take a byte each.
    """
    from scipy import sparse

    n = len(column)
    entries = np.ones(n, np.int8) if values is None else np.asarray(values)
    if entries.dtype == bool:
        entries = entries.astype(np.int8)
    places = np.asarray(column, dtype=np.int32)
    rows = np.arange(n + 1, dtype=np.int32)
    return sparse.csr_array((entries, places, rows), shape=(n, size))


def side_by_side(*parts: sparse.csr_array) -> sparse.csr_array:
    """Parts (N, K) of several sums as one (N, K + K + ...)."""
    from scipy import sparse

    return sparse.csr_array(sparse.hstack(parts, format="csr"))


def checked(values: np.ndarray, *others: Sized) -> np.ndarray:
    """The values as an array; raises ConfigError where there is none, or not as many of others."""
    if len(values) == 0:
        raise ConfigError("no images to measure: the split is empty or every image was skipped")
    for other in others:
        if len(other) != len(values):
            raise ConfigError(f"{len(values)} and {len(other)} values; wanted: one for each image")
    return np.asarray(values)
