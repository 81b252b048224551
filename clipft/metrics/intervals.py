"""TODO: docstring."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ..errors import ConfigError

RESAMPLES, LEVEL = 1000, 0.95  # of bootstrap intervals
AT_ONCE = 4_000_000  # image counts of resamples held in memory


@dataclass(frozen=True)
class Statistic:
    """A number that depends on images through sums alone: parts (N, K), and finish: sums (B, K) and N to (B,)."""

    parts: np.ndarray | sparse.csr_array
    finish: Callable[[np.ndarray, int], np.ndarray]

    def of(self, counts: np.ndarray) -> np.ndarray:
        """Its value where image n stands counts[b, n] times: (B, N) -> (B,)."""
        return self.finish((self.parts.T @ counts.T).T, self.parts.shape[0])

    @property
    def value(self) -> float:
        """Its value on the images themselves."""
        return float(self.of(np.ones((1, self.parts.shape[0])))[0])


def resampled(
    statistics: Mapping[Hashable, Statistic], resamples: int = RESAMPLES, seed: int = 0
) -> dict[Hashable, np.ndarray]:
    """Each statistic on the same resamples of its N images, drawn with replacement: name -> (B,).

    All must be of the same images; the draws depend on N and the seed alone, so statistics of two models on one split
    are paired.
    """
    (n,) = {statistic.parts.shape[0] for statistic in statistics.values()}
    draw, found = np.random.default_rng([seed, n]), {name: [] for name in statistics}
    for start in range(0, resamples, max(1, AT_ONCE // n)):
        size = min(max(1, AT_ONCE // n), resamples - start)
        picks = draw.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(picks.reshape(-1), minlength=size * n).reshape(size, n).astype(float)
        for name, statistic in statistics.items():
            found[name].append(statistic.of(counts))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of resampled values. Source: Efron, The Jackknife, the Bootstrap ..., 1982."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _one_hot(place: np.ndarray, size: int, values: np.ndarray | None = None) -> sparse.csr_array:
    n = len(place)
    values = np.ones(n) if values is None else np.asarray(values, dtype=float)
    return sparse.csr_array((values, place, np.arange(n + 1)), shape=(n, size))


def _some(values: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """The values as an array; raises ConfigError where there is none, or not as many of the others."""
    if len(values) == 0:
        raise ConfigError("no images to measure: the split is empty or every image was skipped")
    for other in others:
        if len(other) != len(values):
            raise ConfigError(f"{len(values)} and {len(other)} values; wanted: one for each image")
    return np.asarray(values)
