"""Points against points: Pearson's r with its interval, and effective robustness."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ConfigError


@dataclass(frozen=True)
class Correlation:
    """Pearson's r over n points with its 95 % interval (Fisher); all nan where it is undefined."""

    r: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if np.isnan(self.r):
            return f"r undefined (n = {self.n})"
        return f"r = {self.r:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.n}"


def correlation(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Pearson's r of two vectors; undefined below three points or where one of them is constant.

    Arguments:
        x: n numbers.
        y: as many.

    Returns:
        r with its 95 % interval (Fisher), and n.

    Raises:
        ConfigError: where the vectors are not equally long.

    Example:
        >>> print(clipft.correlation([0, 1, 2, 3], [3, 2, 1, 1]))
        r = -0.94 [-1.00, 0.19], n = 4
    """
    from scipy import stats

    x = np.asarray(x, dtype=float)
    y = np.asarray(y, dtype=float)
    if x.shape != y.shape:
        vectors = f"{x.shape} and {y.shape} values"
        raise ConfigError(f"correlation of {vectors}; wanted: one y for each x")
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(np.nan, np.nan, np.nan, n=len(x))

    pearson = stats.pearsonr(x, y)
    # Three points say nothing of the error.
    low, high = pearson.confidence_interval() if len(x) > 3 else (-1, 1)
    return Correlation(float(pearson.statistic), float(low), float(high), n=len(x))


def leave_one_out(x: np.ndarray, y: np.ndarray, groups: Sequence[str]) -> dict[str, Correlation]:
    """The correlation without each group (a method, say) in turn: does it hang on one of them?

    Arguments:
        x: n numbers.
        y: as many.
        groups: the group of each point.

    Returns:
        Group -> the correlation of all other points, in order of names.

    Raises:
        ConfigError: where there is not one group for each point.

    Example:
        >>> without = clipft.leave_one_out([0, 1, 2, 9], [2, 1, 0, 9], ["a", "a", "a", "b"])
        >>> print(without["b"])
        r = -1.00 [-1.00, 1.00], n = 3
    """
    x = np.asarray(x)
    y = np.asarray(y)
    group_of = np.asarray(groups)
    if len(group_of) != len(x):
        raise ConfigError(f"{len(group_of)} groups for {len(x)} points; wanted: one for each")

    correlations = {}
    for name in np.unique(group_of):
        others = group_of != name
        correlations[str(name)] = correlation(x[others], y[others])
    return correlations


def effective_robustness(
    shift: np.ndarray, reference: np.ndarray, base_shift: np.ndarray, base_reference: np.ndarray
) -> np.ndarray:
    """Accuracy under shift above what baselines of the same reference accuracy have: (N,) -> (N,).

    All are fractions. The baselines (K,) are fitted by a line in logits: logit(shift) =
    a logit(reference) + b. Sources: Taori et al., arXiv:2007.00644; Miller et al.,
    arXiv:2107.04649. Raises ConfigError for an accuracy of 0 or 1 or fewer than two different
    baselines.
    """
    from scipy import special

    if len(shift) != len(reference) or len(base_shift) != len(base_reference):
        needed = "as many accuracies under shift as on the reference"
        raise ConfigError(f"effective robustness needs {needed}")

    x = special.logit(np.asarray(base_reference, dtype=float))
    y = special.logit(np.asarray(base_shift, dtype=float))
    at = special.logit(np.asarray(reference, dtype=float))
    if not np.isfinite(np.concatenate([x, y, at])).all():
        needed = "accuracies between 0 and 1, exclusive: their logits are fitted"
        raise ConfigError(f"effective robustness needs {needed}")
    if len(x) < 2 or np.ptp(x) == 0:
        baselines = f"{len(x)} baseline models of one reference accuracy"
        raise ConfigError(f"{baselines}; a line needs two different ones")

    slope, offset = np.polyfit(x, y, 1)
    return np.asarray(shift) - special.expit(slope * at + offset)
