"""Points against points: Pearson's r with its interval, a line, and effective robustness."""

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


def influential_pair(x: ArrayLike, y: ArrayLike) -> tuple[int, int] | None:
    """The two points that make Pearson's r: without them least is left of it, in its own direction.

    The pair with the smallest r' sign(r), where r' is r of the other points. All pairs are tried:
    of two far points that lie together, each hides the other where they are left out one by one.

    Arguments:
        x: n numbers.
        y: as many.

    Returns:
        Their places, in order; None below five points, and where r is undefined with all of them or
        without any pair.

    Raises:
        ConfigError: where the vectors are not equally long.

    Example:
        >>> influential_pair([0, 1, 2, 3, 9, 9], [1, 2, 0, 1, 9, 8])
        (4, 5)
    """
    x = np.asarray(x, dtype=float)
    y = np.asarray(y, dtype=float)
    whole = correlation(x, y).r
    if len(x) < 5 or np.isnan(whole):
        return None

    x = (x - x.mean()) / x.std()
    y = (y - y.mean()) / y.std()
    n = len(x) - 2
    # The sums over all points less those of each pair (i, j); with all points they are n + 2.
    x_sum = np.add.outer(x, x)
    y_sum = np.add.outer(y, y)
    x_squares = n + 2 - np.add.outer(x * x, x * x) - x_sum**2 / n
    y_squares = n + 2 - np.add.outer(y * y, y * y) - y_sum**2 / n
    products = (x * y).sum() - np.add.outer(x * y, x * y) - x_sum * y_sum / n

    defined = (x_squares > 1e-9) & (y_squares > 1e-9)  # else all others lie on one value
    first, second = np.nonzero(np.triu(defined, k=1))
    if not len(first):
        return None
    without = products / np.sqrt(np.where(defined, x_squares * y_squares, 1))
    least = int((without[first, second] * np.sign(whole)).argmin())
    return int(first[least]), int(second[least])


@dataclass(frozen=True)
class Line:
    """A least-squares line y = slope x + offset through n points.

    error is the standard deviation of the residuals (n - 2 degrees of freedom), centre the mean of
    x, squares the sum of (x - centre)^2.
    """

    slope: float
    offset: float
    error: float
    centre: float
    squares: float
    n: int

    def at(self, x: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(K,) the line at K places, and the 95 % interval of the mean there: low and high.

        line +- t s sqrt(1/n + (x - centre)^2 / squares), s the error and t the 0.975 quantile of
        Student's t with n - 2 degrees of freedom. Source: Draper and Smith, Applied Regression
        Analysis (1998), the interval of the mean response.
        """
        from scipy import stats

        x = np.asarray(x, dtype=float)
        line = self.slope * x + self.offset
        spread = np.sqrt(1 / self.n + (x - self.centre) ** 2 / self.squares)
        reach = stats.t.ppf(0.975, self.n - 2) * self.error * spread
        return line, line - reach, line + reach


def fit_line(x: ArrayLike, y: ArrayLike) -> Line | None:
    """The least-squares line through points, see `Line`.

    Arguments:
        x: n numbers.
        y: as many.

    Returns:
        The line; None below three points and where x is constant.

    Raises:
        ConfigError: where the vectors are not equally long.

    Example:
        >>> line, low, high = fit_line([0, 1, 2, 3], [1, 3, 5, 7]).at([4])
        >>> line.tolist()
        [9.0]
    """
    x = np.asarray(x, dtype=float)
    y = np.asarray(y, dtype=float)
    if x.shape != y.shape:
        raise ConfigError(
            f"a line through {x.shape} and {y.shape} values; wanted: one y for each x"
        )
    if len(x) < 3 or np.ptp(x) == 0:
        return None

    centre = float(x.mean())
    squares = float(((x - centre) ** 2).sum())
    slope = float(((x - centre) * (y - y.mean())).sum() / squares)
    offset = float(y.mean() - slope * centre)
    residuals = y - slope * x - offset
    error = float(np.sqrt((residuals**2).sum() / (len(x) - 2)))
    return Line(slope, offset, error, centre, squares, n=len(x))


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
