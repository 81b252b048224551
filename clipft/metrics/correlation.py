"""TODO: docstring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Correlation:
    """Pearson's r over n points with its 95 % confidence interval (Fisher); all nan where it is undefined."""

    r: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if np.isnan(self.r):
            return f"r undefined (n = {self.n})"
        return f"r = {self.r:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.n}"


def correlation(x: np.ndarray, y: np.ndarray) -> Correlation:
    """Pearson's r of two vectors; undefined below three points or where one of them is constant."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape:
        raise ConfigError(
            f"correlation of {x.shape} and {y.shape} values; wanted: one y for each x"
        )
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(np.nan, np.nan, np.nan, len(x))
    found = stats.pearsonr(x, y)
    interval = found.confidence_interval() if len(x) > 3 else None
    return Correlation(
        float(found.statistic),
        float(interval.low if interval else -1),
        float(interval.high if interval else 1),
        len(x),
    )


def leave_one_out(x: np.ndarray, y: np.ndarray, groups: Sequence[str]) -> dict[str, Correlation]:
    """The correlation without each group (a method, say) in turn: does it hang on one of them? In order of names."""
    x, y, groups = np.asarray(x), np.asarray(y), np.asarray(groups)
    if len(groups) != len(x):
        raise ConfigError(f"{len(groups)} groups for {len(x)} points; wanted: one for each")
    return {
        str(name): correlation(x[groups != name], y[groups != name]) for name in np.unique(groups)
    }


def effective_robustness(
    shift: np.ndarray, reference: np.ndarray, base_shift: np.ndarray, base_reference: np.ndarray
) -> np.ndarray:
    """Accuracy under shift above what baseline models of the same reference accuracy have; fractions, (N,) -> (N,).

    The baselines (K,) are fitted by a line in logits: logit(shift) = a logit(reference) + b. Sources: Taori et al.,
    arXiv:2007.00644; Miller et al., arXiv:2107.04649. Raises ConfigError for an accuracy of 0 or 1 or fewer than two
    different baselines.
    """
    if len(shift) != len(reference) or len(base_shift) != len(base_reference):
        raise ConfigError(
            "effective robustness needs as many accuracies under shift as on the reference"
        )
    x, y, at = (
        special.logit(np.asarray(v, dtype=float)) for v in (base_reference, base_shift, reference)
    )
    if not all(np.isfinite(v).all() for v in (x, y, at)):
        raise ConfigError(
            "effective robustness needs accuracies between 0 and 1, exclusive: their logits are fitted"
        )
    if len(x) < 2 or np.ptp(x) == 0:
        raise ConfigError(
            f"{len(x)} baseline models of one reference accuracy; a line needs two different ones"
        )
    slope, offset = np.polyfit(x, y, 1)
    return np.asarray(shift) - special.expit(slope * at + offset)
