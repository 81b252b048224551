"""More measures beside those that were scored, and which of them goes with robustness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import TUNED
from ..errors import ConfigError, unknown
from ..metrics.correlation import Correlation, correlation
from .scores import SHIFT
from .table import check_comparable, wide

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

MODEL = ["run", "alpha", "split"]
ABOUT = {
    *MODEL,
    "lr",
    "steps",
    "seed",
    "n",
    "inside",
    "outside",
    "place",
}  # numbers that are no measure
EXPLANATIONS = (
    *("energy_gap", "feature_distortion", "feature_distortion_normalised"),
    *("modality_gap", "modality_gap_change", "alignment", "uniformity", "sigma_min", "cka"),
)


def with_measures(results: pd.DataFrame, *tables: pd.DataFrame) -> pd.DataFrame:
    """Results with more metrics: the numbers of other tables of the same runs.

    So what was measured of a run later is drawn, correlated and explored as what was scored.

    Arguments:
        results: of `clipft.results`.
        tables: with a row per run, alpha and split, as `detection_table`, `flips_table`,
            `geometry_table` have it; each number is a metric, X_low and X_high are the interval of
            X. Of several scores each has its own: auroc_energy, auroc_max_softmax.

    Returns:
        The results, and rows of these metrics for every model that both have.

    Raises:
        ConfigError: for a table without run, alpha and split, or of other runs; or that has several
            rows for a model.

    Example:
        >>> table = clipft.results("runs")
        >>> more = clipft.with_measures(table, clipft.detection_table("runs", alphas=[0, 1]))
        >>> figure = clipft.energy_gap_figure(more, y="auroc_energy")
    """
    import pandas as pd

    check_comparable(results)
    models = results.drop_duplicates(MODEL)
    parts = [results]
    for table in tables:
        missing = sorted(set(MODEL).difference(table.columns))
        if missing:
            raise ConfigError(f"a table without {missing[0]!r}; wanted: run, alpha, split, numbers")
        groups = table.groupby("score") if "score" in table else [("", table)]
        for score, rows in groups:
            parts += _parts(models, rows, f"_{score}" if score else "")
    return pd.concat(parts, ignore_index=True)


def _parts(models: pd.DataFrame, table: pd.DataFrame, suffix: str) -> list[pd.DataFrame]:
    """The rows of each measure of a table."""
    if table.duplicated(MODEL).any():
        raise ConfigError("several rows for one run, alpha and split; wanted: one")
    kept = models.merge(table[MODEL], on=MODEL)
    if kept.empty:
        raise ConfigError("the table and the results have no run, alpha and split in common")
    numbers = kept[MODEL].merge(table, on=MODEL)
    parts = []
    for name in table.select_dtypes("number").columns:
        if name in ABOUT or name.endswith(("_low", "_high")):
            continue
        part = kept.assign(metric=name + suffix, mean=numbers[name].astype(float))
        for end in ("low", "high"):
            column = f"{name}_{end}"
            part[end] = numbers[column if column in numbers else name].astype(float)
        parts.append(part[part["mean"].notna()])
    return parts


def explanations(
    results: pd.DataFrame,
    measures: Sequence[str] = EXPLANATIONS,
    against: str = "accuracy",
    alpha: float = TUNED,
) -> pd.DataFrame:
    """Rival explanations: how closely each measure goes with accuracy under shift, over runs.

    Arguments:
        results: of `clipft.results`; more measures are added by `with_measures`.
        measures: of these those that are there.
        against: the metric that is to be explained, on the same split.
        alpha: of all models.

    Returns:
        A row per shift and measure: Pearson's r with its 95 % interval (seeds of a recipe kept
        together, see `correlation`), Spearman's and Kendall's rank correlation, n runs. The closest
        go first.

    Raises:
        ConfigError: where runs cannot be compared, or none of it was measured.

    Example:
        >>> table = clipft.explanations(clipft.results("runs"))
        >>> table.columns.tolist()
        ['split', 'measure', 'r', 'low', 'high', 'spearman', 'kendall', 'n']
    """
    import pandas as pd

    asked = results[(results.role == SHIFT) & (results.alpha == alpha)]
    if asked.empty:
        raise ConfigError(f"no run is scored on a shift at alpha {alpha:g}; wanted: one that is")
    rows = wide(asked)
    if against not in rows:
        raise unknown("metric", against, sorted(results.metric.unique()))
    known = [name for name in measures if name in rows and name != against]
    if not known:
        raise ConfigError(f"none of {', '.join(measures)} was measured of these runs")
    lines = []
    for split, of_split in rows.groupby("split"):
        for measure in known:
            both = of_split.dropna(subset=[measure, against])
            found = correlation(both[measure], both[against], both.recipe.tolist())
            lines.append({"split": split, "measure": measure, **_numbers(found)})
    table = pd.DataFrame(lines)
    closest = table.r.abs().fillna(-1)
    return table.assign(closest=closest).sort_values(
        ["split", "closest"], ascending=[True, False], kind="stable", ignore_index=True
    ).drop(columns="closest")  # fmt: skip


def _numbers(found: Correlation) -> dict[str, float]:
    ends = {"r": found.r, "low": found.low, "high": found.high}
    return ends | {"spearman": found.spearman, "kendall": found.kendall, "n": found.n}
