"""How well one number of models tells another: errors, ranks, ordered pairs, over clusters.

Models of one recipe (its seeds, its alphas) hang together, so recipes are resampled, each with all
its models.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from .correlation import FEWEST
from .intervals import RESAMPLES, bca, resample_counts

OfCounts = Callable[[np.ndarray], np.ndarray]
"""Counts (B, M), how often each model counts, to values (B,)."""


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval over clusters; nan below four of them."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan


@dataclass(frozen=True)
class Clusters:
    """Which models hang together: place (M,) of each model's cluster, of `count` clusters."""

    place: np.ndarray
    count: int

    @classmethod
    def of(cls, groups: Sequence[Hashable]) -> Clusters:
        """The name of the cluster of each model; draws do not depend on the order of models."""
        names = sorted(set(groups), key=str)
        places = {name: place for place, name in enumerate(names)}
        return cls(np.array([places[group] for group in groups], dtype=int), len(names))

    def draws(self, resamples: int = RESAMPLES) -> np.ndarray:
        """How often each model counts in resamples of clusters: (resamples, M)."""
        random = np.random.default_rng([0, self.count])
        return resample_counts(random, resamples, self.count)[:, self.place]

    def without_each(self) -> np.ndarray:
        """The same where one cluster is left out: (count, M)."""
        return (1 - np.eye(self.count))[:, self.place]

    def measure(self, of: OfCounts, resamples: int = RESAMPLES) -> Measured:
        """A value of all models with its BCa interval; resamples without a value are left out."""
        value = float(of(np.ones((1, len(self.place))))[0])
        if self.count < FEWEST or np.isnan(value):
            return Measured(value)
        draws = of(self.draws(resamples))
        without = of(self.without_each())
        draws = draws[~np.isnan(draws)]
        low, high = bca(value, draws, [without[~np.isnan(without)]])
        return Measured(value, low, high)


def mean_of(values: np.ndarray) -> OfCounts:
    """The mean of M values."""
    return lambda counts: counts @ values / counts.sum(1)


def spearman(x: np.ndarray, y: np.ndarray) -> OfCounts:
    """Spearman's rho of M models, ties at their mean rank; nan where one of both is constant."""
    smaller = [_smaller(values) for values in (x, y)]

    def of_counts(counts: np.ndarray) -> np.ndarray:
        total = counts.sum(1, keepdims=True)
        # Ranks less their mean: a copy of a model has the rank of a tie.
        ranks = [counts @ below.T - total / 2 for below in smaller]
        products = []
        for first, second in ((0, 1), (0, 0), (1, 1)):
            products.append((counts * ranks[first] * ranks[second]).sum(1))
        with np.errstate(invalid="ignore", divide="ignore"):
            return products[0] / np.sqrt(products[1] * products[2])

    return of_counts


def _smaller(values: np.ndarray) -> np.ndarray:
    """(M, M): 1 where the column's value is smaller than the row's, a half where they are equal."""
    return (np.sign(values[:, None] - values) + 1) / 2


def ordered_share(x: np.ndarray, y: np.ndarray) -> OfCounts:
    """Of all pairs of M models that differ in y, the share that x orders so; a tie is half."""
    order = np.sign(y[:, None] - y)
    differ = np.abs(order)
    told = (np.sign(x[:, None] - x) * order + 1) / 2 * differ

    def of_counts(counts: np.ndarray) -> np.ndarray:
        right, all_pairs = (((counts @ of) * counts).sum(1) for of in (told, differ))
        with np.errstate(invalid="ignore"):
            return right / all_pairs

    return of_counts
