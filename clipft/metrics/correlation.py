"""Points against points: r with its interval, also of points that hang together in groups; a line,
and effective robustness.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ConfigError
from .intervals import Statistic, bca, resampled

FEWEST = 4  # points, or recipes, of which an interval can be told


@dataclass(frozen=True)
class Correlation:
    """Pearson's r over n points with its 95 % interval; all nan where it is undefined.

    recipes: how many the points are of, where they are fewer than the points and the interval is
    of points grouped by them; else None. spearman and kendall: rank correlations, rho and tau-b.
    """

    r: float
    low: float
    high: float
    n: int
    recipes: int | None = None
    spearman: float = np.nan
    kendall: float = np.nan

    def __str__(self) -> str:
        return self._text("" if self.recipes is None else f" of {self.recipes} recipes")

    @property
    def short(self) -> str:
        """As short as a panel's title must be: `n = 10 (5)` is of 10 points and 5 recipes."""
        return self._text("" if self.recipes is None else f" ({self.recipes})")

    @property
    def bare(self) -> str:
        """r and its interval alone."""
        if np.isnan(self.r):
            return "r undefined"
        return f"r = {self.r:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def _text(self, of: str) -> str:
        if np.isnan(self.r):
            return f"{self.bare} (n = {self.n})"
        return f"{self.bare}, n = {self.n}{of}"

    @property
    def ranks(self) -> str:
        """Both rank correlations in words."""
        return f"Spearman's rho {self.spearman:.2f}, Kendall's tau {self.kendall:.2f}"


def correlation(
    x: ArrayLike, y: ArrayLike, groups: Sequence[Hashable] | None = None
) -> Correlation:
    """Pearson's r of two vectors; undefined below three points or where one of them is constant.

    The interval is Fisher's, tanh(artanh(r) -+ 1.96 / sqrt(n - 3)): all points are independent.
    Seeds of one recipe are not; given groups, two intervals are made and each end is the outer one:

        clusters    groups are resampled with all their points (cluster bootstrap), BCa
        Fisher's    with the number of groups for n: as if a group were one point

    With 5 to 30 groups of two, the bootstrap alone held the true r in 84 to 95 % of simulations,
    Fisher's of all points in 75 to 85 %, Fisher's of groups in 95 to 97 %. Sources: Fisher, Metron
    1921; Davison and Hinkley 1997, section 3.8; Field and Welsh, JRSS B 2007 (clusters).

    Arguments:
        x: n numbers.
        y: as many.
        groups: the recipe of each point; None: each point is on its own.

    Returns:
        r with its 95 % interval, n, the number of groups, Spearman's rho and Kendall's tau.

    Raises:
        ConfigError: where the vectors, or the groups, are not equally long.

    Example:
        >>> gap, accuracy = [0, 1, 2, 3, 4, 5, 6, 7], [9, 8, 6, 6, 4, 5, 2, 1]
        >>> print(clipft.correlation(gap, accuracy))
        r = -0.97 [-0.99, -0.82], n = 8
        >>> print(clipft.correlation(gap, accuracy, groups=list("aabbccdd")))
        r = -0.97 [-1.00, -0.06], n = 8 of 4 recipes
    """
    from scipy import stats

    x = np.asarray(x, dtype=float)
    y = np.asarray(y, dtype=float)
    if x.shape != y.shape:
        vectors = f"{x.shape} and {y.shape} values"
        raise ConfigError(f"correlation of {vectors}; wanted: one y for each x")
    if groups is not None and len(groups) != len(x):
        raise ConfigError(f"{len(groups)} groups for {len(x)} points; wanted: one for each")
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(np.nan, np.nan, np.nan, n=len(x))

    r = float(stats.pearsonr(x, y).statistic)
    recipes = None
    low, high = _fishers(r, len(x))
    if groups is not None and len(set(groups)) < len(x):
        recipes = len(set(groups))
        low, high = _fishers(r, recipes)
        if recipes >= FEWEST:
            of_clusters = _of_clusters(x, y, groups)
            low = min(low, of_clusters[0])
            high = max(high, of_clusters[1])
    return Correlation(
        r,
        low,
        high,
        n=len(x),
        recipes=recipes,
        spearman=float(stats.spearmanr(x, y).statistic),
        kendall=float(stats.kendalltau(x, y).statistic),
    )


def _fishers(r: float, n: int) -> tuple[float, float]:
    """Fisher's 95 % interval of r over n points; three say nothing of the error."""
    from scipy import special

    if n < FEWEST:
        return -1.0, 1.0
    if abs(r) >= 1:
        return r, r
    reach = special.ndtri(0.975) / np.sqrt(n - 3)
    low, high = np.tanh(np.arctanh(r) + np.array([-reach, reach]))
    return float(low), float(high)


def _of_clusters(x: np.ndarray, y: np.ndarray, groups: Sequence[Hashable]) -> tuple[float, float]:
    """The BCa interval of r where groups are drawn, each with all its points."""
    # In order of names: the draws must not depend on the order of points.
    places = {group: place for place, group in enumerate(sorted(set(groups), key=str))}
    group_of = [places[group] for group in groups]
    # Around their means sums of squares lose no digits.
    x = (x - x.mean()) / x.std()
    y = (y - y.mean()) / y.std()
    sums = np.zeros((len(places), 6))
    np.add.at(sums, group_of, np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1))

    statistic = Statistic(sums, _r_of_sums)
    draws = resampled({"r": statistic})["r"]
    without = statistic.without_each()
    # A group drawn over and over can lie on one value: it has no r.
    without = np.where(np.isnan(without), statistic.value, without)
    return bca(statistic.value, draws[~np.isnan(draws)], [without])


def _r_of_sums(sums: np.ndarray, _groups: int) -> np.ndarray:
    """r by the sums of 1, x, y, x^2, y^2 and xy over points: (B, 6) -> (B,), nan without spread."""
    n, x, y, x_squares, y_squares, products = sums.T
    x_spread = x_squares - x * x / n
    y_spread = y_squares - y * y / n
    defined = (x_spread > 1e-9) & (y_spread > 1e-9)
    scale = np.sqrt(np.where(defined, x_spread * y_spread, 1))
    r = np.clip((products - x * y / n) / scale, -1, 1)
    return np.where(defined, r, np.nan)


def leave_one_out(
    x: np.ndarray, y: np.ndarray, groups: Sequence[str], recipes: Sequence[Hashable] | None = None
) -> dict[str, Correlation]:
    """The correlation without each group (a method, say) in turn: does it hang on one of them?

    Arguments:
        x: n numbers.
        y: as many.
        groups: the group of each point.
        recipes: its recipe, as `correlation` takes it; None: each point is on its own.

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
        rest = None if recipes is None else np.asarray(recipes)[others].tolist()
        correlations[str(name)] = correlation(x[others], y[others], rest)
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

    See `expected_shift`; raises as that does, and where shift and reference are not equally long.
    """
    if len(shift) != len(reference):
        needed = "as many accuracies under shift as on the reference"
        raise ConfigError(f"effective robustness needs {needed}")
    return np.asarray(shift) - expected_shift(reference, base_shift, base_reference)


def expected_shift(
    reference: ArrayLike, base_shift: ArrayLike, base_reference: ArrayLike
) -> np.ndarray:
    """Accuracy under shift of baselines that have these reference accuracies: (N,) -> (N,).

    All are fractions. The baselines (K,) are fitted by a line in logits: logit(shift) =
    a logit(reference) + b. Sources: Taori et al., arXiv:2007.00644; Miller et al.,
    arXiv:2107.04649. Raises ConfigError for an accuracy of 0 or 1 or fewer than two different
    baselines.
    """
    from scipy import special

    if len(np.asarray(base_shift)) != len(np.asarray(base_reference)):
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
    return special.expit(slope * at + offset)
