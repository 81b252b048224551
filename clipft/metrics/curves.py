"""Curves along alpha, from zero-shot (0) to tuned (1): where they bend, how high they rise."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..config import TUNED, ZERO_SHOT
from ..errors import ConfigError

FINEST = 1 / 128  # narrowest interval of alphas that `kinks` halves


def kinks(alphas: Sequence[float], curves: np.ndarray, tolerance: float) -> list[float]:
    """Middles of the intervals beside each alpha at which a curve leaves its neighbours' line.

    alphas (A,) rising, curves (A, K); a curve bends at an inner alpha where it is further than
    `tolerance` from that line. Raises ConfigError for a tolerance that is not above 0.
    """
    if not tolerance > 0:
        expected = "expected a fraction above 0, e.g. 0.01"
        raise ConfigError(f"the tolerance of adaptive alphas is {tolerance}, {expected}")

    middles = set()
    for i in range(1, len(alphas) - 1):
        left, here, right = alphas[i - 1 : i + 2]
        share = (here - left) / (right - left)
        off_line = curves[i] - (1 - share) * curves[i - 1] - share * curves[i + 1]
        if np.abs(off_line).max() > tolerance:
            for low, high in pairwise((left, here, right)):
                if high - low > FINEST:
                    middles.add((low + high) / 2)
    return sorted(middles)


@dataclass(frozen=True)
class Barrier:
    """How far a loss rises above the line between the ends of the path, and at which alpha."""

    height: float
    alpha: float


def barrier(alphas: Sequence[float], losses: Sequence[float]) -> Barrier:
    """The loss barrier: max over alpha of L(alpha) - (1 - alpha) L(0) - alpha L(1), 0 at the ends.

    Source: Frankle et al., Linear mode connectivity, arXiv:1912.05671. Raises ConfigError without
    alphas 0 and 1.
    """
    loss_at = dict(zip(alphas, losses, strict=True))
    if not {ZERO_SHOT, TUNED} <= loss_at.keys():
        got = sorted(loss_at)
        raise ConfigError(f"a path from zero-shot to tuned needs alpha 0 and 1, got {got}")

    highest = Barrier(0.0, ZERO_SHOT)
    for alpha in sorted(loss_at):
        if ZERO_SHOT < alpha < TUNED:
            rise = loss_at[alpha] - (1 - alpha) * loss_at[ZERO_SHOT] - alpha * loss_at[TUNED]
            if rise > highest.height:
                highest = Barrier(float(rise), float(alpha))
    return highest


LEVELS = 64  # of reference accuracy at which two curves are compared


def ahead(curve: np.ndarray, other: np.ndarray) -> float:
    """How far a curve lies above another at equal reference accuracy; nan where they never meet.

        mean over levels r of  h(r) - h'(r),   h(r) = the largest shift accuracy at r

    curve (K, 2) and other (L, 2) hold reference and shift accuracy of models; both begin at the
    same zero-shot model, and straight lines join neighbours. The levels, evenly spaced, are those
    that tuned models of both curves reach: from the larger of their least to the smaller of their
    most. Where a curve turns back, at a rate too large, its higher branch counts. Ours.
    """
    if min(len(curve), len(other)) < 2:  # no tuned model
        return np.nan
    tuned = (curve[1:, 0], other[1:, 0])
    low = max(reference.min() for reference in tuned)
    high = min(reference.max() for reference in tuned)
    if not low < high:
        return np.nan
    levels = np.linspace(low, high, LEVELS)
    return float(np.mean(_heights(curve, levels) - _heights(other, levels)))


def height(curve: np.ndarray, level: float) -> float:
    """The highest shift accuracy of a curve (K, 2) at a reference accuracy; nan beyond its ends."""
    found = float(_heights(curve, np.array([level]))[0])
    return found if np.isfinite(found) else np.nan


def _heights(curve: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The highest place of a polyline (K, 2) over each level (L,), which it must cross: (L,)."""
    heights = np.full(len(levels), -np.inf)
    for (left, first), (right, second) in pairwise(curve):
        over = (levels >= min(left, right)) & (levels <= max(left, right))
        if left == right:
            here = np.full(over.sum(), max(first, second))
        else:
            here = first + (levels[over] - left) / (right - left) * (second - first)
        heights[over] = np.maximum(heights[over], here)
    return heights
