"""Bootstrap intervals of whatever depends on images through sums: resample once, sum, finish.

Source: Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..errors import ConfigError

if TYPE_CHECKING:
    from scipy import sparse

RESAMPLES = 1000
LEVEL = 0.95
AT_ONCE = 4_000_000  # image counts of resamples in memory

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Statistic:
    """A number that depends on images through sums alone.

    parts (N, K): what each image adds to K sums. finish: sums (B, K) and N to values (B,).
    """

    parts: Any  # an array or a sparse one; SciPy's have no types
    finish: Callable[[np.ndarray, int], np.ndarray]

    def of(self, counts: np.ndarray) -> np.ndarray:
        """Its value where image n stands counts[b, n] times: (B, N) -> (B,)."""
        return self.finish((self.parts.T @ counts.T).T, self.parts.shape[0])

    @property
    def value(self) -> float:
        """Its value on the images themselves."""
        return float(self.of(np.ones((1, self.parts.shape[0])))[0])


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
        # Resample b counts its images in a range of its own, so one bincount serves all of them.
        picks = random.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(picks.reshape(-1), minlength=size * n).astype(float)
        for name, statistic in statistics.items():
            chunks[name].append(statistic.of(counts.reshape(size, n)))

    return {name: np.concatenate(values) for name, values in chunks.items()}


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def one_hot(column: np.ndarray, size: int, values: np.ndarray | None = None) -> sparse.csr_array:
    """One entry a row, in the given column (N,), of value 1 unless given (N,): sparse (N, size)."""
    from scipy import sparse

    n = len(column)
    entries = np.ones(n) if values is None else np.asarray(values, dtype=float)
    return sparse.csr_array((entries, column, np.arange(n + 1)), shape=(n, size))


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
