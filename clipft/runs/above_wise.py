"""What a method is worth beside plain WiSE: at equal reference accuracy, FT mixed with zero-shot.

    above = h(r) - h_WiSE(r),   h(r): mean shift accuracy of the curve at reference accuracy r

A method that only moves along FT's own curve from zero-shot to tuned does what the slider does.
Means over seeds are paired: the curve is that of FT's run of the same seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..config import TUNED
from ..errors import ConfigError
from ..metrics.comparison import paired_difference
from ..metrics.curves import ahead, height
from .claims import ACCURACIES
from .names import ordered
from .table import best_by_val, paths

if TYPE_CHECKING:
    import pandas as pd

MODEL, MIXED = "model", "mixed"  # the tuned model alone, its whole path of alphas
COLUMNS = ["method", "what", "above", "low", "high", "seeds", "beyond", "reference", "shift"]


def above_wise(results: pd.DataFrame, baseline: str = "ft") -> pd.DataFrame:
    """How far each method lies above a baseline's WiSE curve, at equal reference accuracy.

    Of each method the recipe that is best on held-out reference images. A model whose reference
    accuracy no alpha of the baseline reaches cannot be compared: it is counted as beyond.

    Arguments:
        results: of `clipft.results`, with alphas between 0 and 1; one data set, model, reference.
        baseline: the method whose mixtures are the curve.

    Returns:
        Two rows a method, `what` is model (alpha 1) or mixed (its own alphas, at the reference
        accuracies that both paths reach): above with its paired 95 % interval over seeds (Student's
        t; fractions), how many seeds were compared and how many beyond, mean accuracies at alpha 1.

    Raises:
        ConfigError: where runs cannot be compared, or the baseline was not scored between its ends.

    Example:
        >>> clipft.above_wise(clipft.results("runs"))[["method", "what"]].values.tolist()
        [['lipsum', 'model'], ['lipsum', 'mixed']]
    """
    import pandas as pd

    best = best_by_val(results)
    curves = {}
    for method, recipe in best.items():
        curves[method] = _curves(results[results.recipe == recipe])
    lines = curves.pop(baseline, {})
    if not any(len(curve) > 2 for curve in lines.values()):
        advice = "clipft wise RUN scores alphas between 0 and 1"
        raise ConfigError(f"no run of {baseline} is scored between its ends; {advice}")

    rows = []
    for method in ordered(curves):
        seeds = sorted(curves[method].keys() & lines.keys())
        if not seeds:
            continue
        ends = np.array([curves[method][seed][-1] for seed in seeds])
        above = [
            end[1] - height(lines[seed], end[0]) for seed, end in zip(seeds, ends, strict=True)
        ]
        rows.append((method, MODEL, *_paired(above), *ends.mean(0)))
        above = [ahead(curves[method][seed], lines[seed]) for seed in seeds]
        rows.append((method, MIXED, *_paired(above), *ends.mean(0)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _curves(results: pd.DataFrame) -> dict[int, np.ndarray]:
    """Seed -> reference and mean shift accuracy (A, 2) along rising alphas to the tuned model."""
    curves = {}
    for seed, rows in paths(results).sort_values("alpha").groupby("seed"):
        if rows.alpha.iloc[-1] == TUNED:
            curves[int(str(seed))] = rows[ACCURACIES].to_numpy()
    return curves


def _paired(above: list[float]) -> tuple[float, float, float, int, int]:
    """Mean, interval, how many could be compared, and how many could not."""
    found = [value for value in above if not np.isnan(value)]
    beyond = len(above) - len(found)
    if not found:
        return np.nan, np.nan, np.nan, 0, beyond
    difference = paired_difference(np.zeros(len(found)), found)
    return difference.mean, difference.low, difference.high, difference.n, beyond
