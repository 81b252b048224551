"""On the line or off it: accuracy under shift against accuracy on the reference, shift by shift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TUNED, ZERO_SHOT
from ..errors import ConfigError, unknown
from ..metrics.correlation import correlation, expected_shift, fit_line
from .scores import REFERENCE, SHIFT
from .table import baseline_paths, paths, paths_of_models, reference_first, score_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

FAMILIES = ("method", "recipe", "run", "all")
ABOUT = ["run", "recipe", "method", "lr", "steps", "seed", "alpha"]
LINE = [
    *("family", "split", "slope", "slope_low", "slope_high", "offset", "r2"),
    *("r", "low", "high", "n", "off_the_line"),
]
ROBUST = [
    *("reference_accuracy", "shift_accuracy", "expected", "effective_robustness"),
    *("low", "high", "baselines"),
]


def line_table(
    results: pd.DataFrame, by: str = "method", alpha: float | None = TUNED
) -> pd.DataFrame:
    """Accuracy on the line: probit(shift) = slope probit(reference) + offset, of each family.

    Models that differ in what they were trained on or with usually lie on one rising line (Miller
    et al., arXiv:2107.04649). A family whose slope is negative is off the line: more of it costs
    accuracy under shift, and what is estimated from agreement on the line fails (Baek et al.,
    arXiv:2206.13089).

    Arguments:
        results: of `clipft.results`, or of `clipft.evaluate`.
        by: what a family is: method, recipe, run, or all.
        alpha: of the models; None: every one, so that a run's WiSE path is a family.

    Returns:
        A row per family and shift: slope with Student's 95 % interval, offset, r2, Pearson's r in
        probits with its 95 % interval [low, high] (seeds of a recipe kept together, see
        `correlation`), n models, and off_the_line, whether the slope is negative. A model that gets
        all, or nothing, right has no probit and is left out; below three others nothing is fitted.

    Raises:
        ConfigError: for another kind of family, or where no model is scored at this alpha.

    Example:
        >>> table = clipft.line_table(clipft.results("runs"), by="run", alpha=None)
        >>> len(table)  # two runs, two shifts
        4
    """
    import pandas as pd

    if by not in FAMILIES:
        raise unknown("family", by, FAMILIES)
    models = models_on_lines(results, alpha)
    rows = []
    for split in shifts_of(results):
        groups = [("all", models)] if by == "all" else models.groupby(by)
        for family, of_family in groups:
            rows.append({"family": family, "split": split} | _fitted(of_family, split))
    return pd.DataFrame(rows, columns=LINE)


def models_on_lines(results: pd.DataFrame, alpha: float | None) -> pd.DataFrame:
    """The rows of `paths` at an alpha, or all; raises ConfigError where there is none."""
    if results.empty:
        raise ConfigError("a table without a row; wanted: the table of clipft.results(RUNS)")
    models = paths_of_models(results)
    if alpha is not None:
        models = models[models.alpha == alpha]
    if models.empty:
        raise ConfigError(f"no run is scored at alpha {alpha:g}: clipft wise RUN --alpha {alpha:g}")
    return models


def shifts_of(results: pd.DataFrame) -> list[str]:
    """Names of the shifts; raises ConfigError where there is none."""
    shifts = results.split[results.role == SHIFT].unique()
    if not len(shifts):
        raise ConfigError("no run is scored on a shift; wanted: a data set with several domains")
    return reference_first(shifts, results.reference.iloc[0])


def probits(models: pd.DataFrame, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probits of reference and shift accuracy, and which models have both: (K,), (K,), (N,)."""
    from scipy import special

    x = special.ndtri(models.reference_accuracy.to_numpy(dtype=float))
    y = special.ndtri(models[split].to_numpy(dtype=float))
    finite = np.isfinite(x) & np.isfinite(y)
    return x[finite], y[finite], finite


def _fitted(models: pd.DataFrame, split: str) -> dict[str, Any]:
    """The line through the models of a family on one shift."""
    from scipy import stats

    # All runs of a model share its zero-shot: it is one point, however many there are.
    again = models.duplicated(["alpha", "reference_accuracy", split])
    models = models[(models.alpha != ZERO_SHOT) | ~again]
    x, y, finite = probits(models, split)
    found = correlation(x, y, models.recipe[finite].tolist())
    row: dict[str, Any] = {"n": len(x), "r": found.r, "low": found.low, "high": found.high}
    line = fit_line(x, y)
    if line is None:
        return row | {"off_the_line": False}
    with np.errstate(invalid="ignore"):
        reach = stats.t.ppf(0.975, line.n - 2) * line.error / np.sqrt(line.squares)
    ends = {"slope_low": line.slope - reach, "slope_high": line.slope + reach}
    row |= {"slope": line.slope, "offset": line.offset, "r2": found.r**2}
    return row | ends | {"off_the_line": line.slope < 0}


def robustness_table(
    results: pd.DataFrame,
    baselines: Sequence[str] | pd.DataFrame | Path | str = ("ft",),
    alpha: float = TUNED,
) -> pd.DataFrame:
    """Effective robustness on each shift, with its interval, against any set of baselines.

    As `effective`, whose line is that of the mean over shifts. The interval has three sources: the
    images of the shift, the images of the reference (through the line's slope) and the baselines
    (Student's interval of the line); they are joined as independent, d - sqrt(sum (x - low)^2) and
    so upwards (MOVER: Zou and Donner, Statistics in Medicine 2008).

    Arguments:
        results: of `clipft.results`.
        baselines: methods; or the table of `clipft.evaluate`, or its CSV file; or any rows of
            results, all alphas of which count: a run's WiSE path, say. Two baselines give a line
            and no interval.
        alpha: of the models that are measured.

    Returns:
        A row per run and shift: reference_accuracy, shift_accuracy, expected (what the line has at
        this reference accuracy), effective_robustness with [low, high], fractions; baselines, how
        many the line goes through.

    Raises:
        ConfigError: where the baselines give no line, or are of another data set.

    Example:
        >>> table = clipft.results("runs")
        >>> path = table[table.method == "lipsum"]  # its WiSE path
        >>> clipft.robustness_table(table[table.method == "ft"], path).split.tolist()
        ['clipart/test', 'sketch/test']
    """
    import pandas as pd

    rows = paths(results)
    base = baseline_paths(results, rows, baselines)
    models = rows[rows.alpha == alpha]
    ends = score_rows(results)
    ends = ends[ends.alpha == alpha].set_index(["run", "split"])[["low", "high"]]
    reference = results.split[results.role == REFERENCE].iloc[0]
    parts = []
    for split in shifts_of(results):
        line = _BaseLine(base[split].to_numpy(), base.reference_accuracy.to_numpy())
        part = models[ABOUT].assign(split=split, baselines=len(base))
        part["reference_accuracy"] = models.reference_accuracy
        part["shift_accuracy"] = models[split]
        of_reference = ends.loc[[(run, reference) for run in models.run]].to_numpy()
        of_shift = ends.loc[[(run, split) for run in models.run]].to_numpy()
        expected, low, high = line.at(models.reference_accuracy.to_numpy(), of_reference)
        robust = models[split].to_numpy() - expected
        below = np.hypot(models[split].to_numpy() - of_shift[:, 0], high - expected)
        above = np.hypot(of_shift[:, 1] - models[split].to_numpy(), expected - low)
        part = part.assign(expected=expected, effective_robustness=robust)
        parts.append(part.assign(low=robust - below, high=robust + above))
    return pd.concat(parts, ignore_index=True)[[*ABOUT, "split", *ROBUST]]


class _BaseLine:
    """The line of baselines in logits: accuracies under shift (K,) and on the reference (K,)."""

    def __init__(self, shift: np.ndarray, reference: np.ndarray):
        self.shift = shift
        self.reference = reference

    def at(
        self, reference: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N,) what the line has at accuracies (N,) that lie between ends (N, 2); low and high."""
        from scipy import special

        expected = expected_shift(reference, self.shift, self.reference)  # raises
        logit = special.logit
        line = fit_line(logit(self.reference), logit(self.shift))
        if line is None:
            none = np.full(len(expected), np.nan)
            return expected, none, none
        x = logit(reference)
        middle, low, high = line.at(x)
        # An end at 0 or 1 has no logit.
        reach = line.slope * (logit(np.clip(ends, 1e-6, 1 - 1e-6)) - x[:, None])  # (N, 2)
        down = np.hypot(middle - low, reach.min(1))
        up = np.hypot(high - middle, reach.max(1))
        return expected, special.expit(middle - down), special.expit(middle + up)
