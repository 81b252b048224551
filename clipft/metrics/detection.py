"""Out-of-distribution detection: does a score tell shifted images from those of the reference?

A score is high inside, on the n images of the reference, and low outside, on the m of a shift. A
threshold takes an image for one of the reference where its score is at least that.

    AUROC   the chance that an image inside has the higher score: (#{x > y} + #{x = y} / 2) / n m
    FPR     the fraction outside that is taken for inside, where 95 % of those inside are (95 % TPR)

Sources: Hendrycks and Gimpel, arXiv:1610.02136 (maximum softmax probability); Liu et al.,
arXiv:2010.03759 (energy, FPR at 95 % TPR).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..errors import ConfigError
from .intervals import AT_ONCE, LEVEL, RESAMPLES, bca, checked

PERCENT = 95  # of the images inside that are taken for such
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Detection:
    """AUROC and FPR at 95 % TPR, fractions, with their 95 % intervals over images."""

    auroc: float
    auroc_low: float
    auroc_high: float
    fpr: float
    fpr_low: float
    fpr_high: float


def detections(
    scores: Mapping[Name, tuple[np.ndarray, np.ndarray]], resamples: int = RESAMPLES, seed: int = 0
) -> dict[Name, Detection]:
    """How well each score tells the same images apart: inside (n,) and outside (m,) by name.

    Both sets are resampled, each by itself; all scores are measured on the same resamples, so that
    two models are compared on the same images. Intervals are BCa, see `intervals.bca`; at the ends
    of the scale, where all resamples are alike, they are exact and one-sided, see `_at_the_end`.
    Raises ConfigError without images on either side, and where numbers of images differ.
    """
    ranked = {name: _Ranked(inside, outside) for name, (inside, outside) in scores.items()}
    sizes = {(len(one.inside), len(one.outside)) for one in ranked.values()}
    if len(sizes) != 1:
        raise ConfigError(f"scores of {sorted(sizes)} images; wanted: all of the same images")

    draws: dict[Name, list[np.ndarray]] = {name: [] for name in ranked}
    for inside, outside in _resamples(*sizes.pop(), resamples, seed):
        for name, one in ranked.items():
            draws[name].append(one.measured(inside, outside))
    found = {}
    for name, one in ranked.items():
        auroc, fpr = np.concatenate(draws[name], axis=1)
        found[name] = Detection(*one.auroc(auroc), *one.fpr(fpr))
    return found


def _resamples(
    n: int, m: int, resamples: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each image inside (b, n) and outside (b, m) is drawn, some resamples at a time."""
    random = np.random.default_rng([seed, n, m])
    chunk = max(1, AT_ONCE // (n + m))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        yield _drawn(random, size, n), _drawn(random, size, m)


def _drawn(random: np.random.Generator, size: int, n: int) -> np.ndarray:
    picks = random.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
    counted = np.bincount(picks.reshape(-1), minlength=size * n)
    return counted.reshape(size, n).astype(np.int32)


class _Ranked:
    """One score of images inside and outside, each in rising order of it."""

    def __init__(self, inside: np.ndarray, outside: np.ndarray):
        self.order_inside = np.argsort(checked(inside), kind="stable")
        self.order_outside = np.argsort(checked(outside), kind="stable")
        self.inside = np.asarray(inside, dtype=float)[self.order_inside]
        self.outside = np.asarray(outside, dtype=float)[self.order_outside]
        if not np.isfinite(np.concatenate([self.inside, self.outside])).all():
            raise ConfigError("a score that is no finite number; wanted: one for each image")
        # (m,) how many inside are below each outside, and how many are not above it.
        self.below = np.searchsorted(self.inside, self.outside, side="left")
        self.up_to = np.searchsorted(self.inside, self.outside, side="right")
        # (n,) how many outside are below each inside: those that it would not take as threshold.
        self.refused = np.searchsorted(self.outside, self.inside, side="left")

    def measured(self, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """AUROC and FPR of resamples: (2, b)."""
        n, m = len(self.inside), len(self.outside)
        lower_inside = _counted_below(inside[:, self.order_inside])  # (b, n + 1)
        drawn_outside = outside[:, self.order_outside]  # (b, m)
        lost = lower_inside[:, self.below] + lower_inside[:, self.up_to]
        auroc = 1 - np.einsum("bm,bm->b", drawn_outside, lost, dtype=float) / (2 * n * m)

        # The threshold of a resample is the place up to which 5 % of it, rounded down, lie.
        place = (lower_inside <= n - _wanted(n)).sum(1) - 1
        lower_outside = _counted_below(drawn_outside)  # (b, m + 1)
        fpr = 1 - lower_outside[np.arange(len(place)), self.refused[place]] / m
        return np.stack([auroc, fpr])

    def auroc(self, draws: np.ndarray) -> tuple[float, float, float]:
        """AUROC and its interval by its values on resamples (B,)."""
        n, m = len(self.inside), len(self.outside)
        won = n - (self.below + self.up_to) / 2  # (m,) by each outside
        not_above = np.searchsorted(self.outside, self.inside, side="right")
        won_inside = (self.refused + not_above) / 2  # (n,)
        value = float(won.sum() / (n * m))
        if value in (0, 1):
            # Of min(n, m) pairs without an image in common all are in order, or none.
            return value, *_at_the_end(value, min(n, m))
        without = [_mean_without(won_inside / m), _mean_without(won / n)]
        return value, *bca(value, draws, without)

    def fpr(self, draws: np.ndarray) -> tuple[float, float, float]:
        """FPR at 95 % TPR and its interval by its values on resamples (B,)."""
        n, m = len(self.inside), len(self.outside)
        place = n - _wanted(n)
        taken = self.outside >= self.inside[place]  # (m,)
        value = float(taken.mean())
        if value in (0, 1):
            return value, *_at_the_end(value, m)
        # Without one inside the threshold is that of n - 1: one place further if it was below.
        fewer = n - 1 - _wanted(n - 1) if n > 1 else 0
        places = np.where(np.arange(n) <= fewer, min(fewer + 1, n - 1), fewer)
        without = [1 - self.refused[places] / m, _mean_without(taken.astype(float))]
        return value, *bca(value, draws, without)


def _wanted(n: int) -> int:
    """How many of n images inside are to be taken for such: 95 % of them, rounded up."""
    return -(-PERCENT * n // 100)


def _counted_below(counts: np.ndarray) -> np.ndarray:
    """How many are drawn before each place: (b, n) -> (b, n + 1)."""
    below = np.zeros((len(counts), counts.shape[1] + 1), np.int32)
    np.cumsum(counts, axis=1, out=below[:, 1:])
    return below


def _mean_without(values: np.ndarray) -> np.ndarray:
    """The mean of the others, without each: (N,) -> (N,)."""
    if len(values) == 1:
        return values
    return (values.sum() - values) / (len(values) - 1)


def _at_the_end(value: float, trials: int) -> tuple[float, float]:
    """The one-sided exact interval where all of some trials, or none, went one way.

    Source: Clopper and Pearson, Biometrika 1934.
    """
    reach = 1 - (1 - LEVEL) ** (1 / trials)
    return (1 - reach, 1.0) if value else (0.0, reach)
