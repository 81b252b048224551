"""TODO: docstring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

FINEST = 1 / 128  # narrowest interval of alphas that `kinks` halves


def kinks(alphas: Sequence[float], curves: np.ndarray, tolerance: float) -> list[float]:
    """Middles of the intervals beside each alpha at which a curve leaves the line between its neighbours.

    alphas (A,) rising, curves (A, K); a curve bends at an inner alpha where it is further than `tolerance` from that
    line. Raises ConfigError for a tolerance that is not above 0.
    """
    if not tolerance > 0:
        raise ConfigError(
            f"the tolerance of adaptive alphas is {tolerance}, expected a fraction above 0, e.g. 0.01"
        )
    found = set()
    for i in range(1, len(alphas) - 1):
        left, here, right = alphas[i - 1 : i + 2]
        part = (here - left) / (right - left)
        if np.abs(curves[i] - (1 - part) * curves[i - 1] - part * curves[i + 1]).max() > tolerance:
            found |= {(a + b) / 2 for a, b in ((left, here), (here, right)) if b - a > FINEST}
    return sorted(found)


@dataclass(frozen=True)
class Barrier:
    """How far a loss rises above the line between the ends of the path from theta0 to theta, and at which alpha."""

    height: float
    alpha: float


def barrier(alphas: Sequence[float], losses: Sequence[float]) -> Barrier:
    """The loss barrier: max over alpha of L(alpha) - (1 - alpha) L(0) - alpha L(1), 0 at the ends.

    Source: Frankle et al., Linear mode connectivity, arXiv:1912.05671. Raises ConfigError without alphas 0 and 1.
    """
    at = dict(zip(alphas, losses, strict=True))
    if not {0.0, 1.0} <= at.keys():
        raise ConfigError(f"a path from zero-shot to tuned needs alpha 0 and 1, got {sorted(at)}")
    rise = {a: loss - (1 - a) * at[0.0] - a * at[1.0] for a, loss in at.items() if 0 < a < 1} | {
        0.0: 0.0
    }
    top = max(sorted(rise), key=rise.get)
    return Barrier(float(rise[top]), float(top))
