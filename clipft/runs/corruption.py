"""Mean corruption error of runs, and what made shifts say of real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config import TUNED, ZERO_SHOT
from ..data.made_shifts import is_made, kind_of
from ..data.severities import COMMON
from ..data.splits import SplitName
from ..errors import ConfigError
from ..metrics.correlation import correlation
from ..metrics.corruption import corruption_error, relative_corruption_error
from .names import title_of, told_of
from .scores import REFERENCE, SHIFT
from .table import RECIPE, RUN_KEYS, check_comparable, narrow, of_metrics, score_rows, wide

if TYPE_CHECKING:
    import pandas as pd

MCE = ("mce", "relative_mce")


def made_rows(results: pd.DataFrame) -> pd.DataFrame:
    """A row per run, alpha, kind and severity: error and clean error, both fractions of images.

    Raises ConfigError where no made shift was scored, or runs cannot be compared.
    """
    check_comparable(results)
    found: dict[str, tuple[str, int]] = {}
    for split in results.split.unique():
        kind = kind_of(SplitName.parse(split).domain)
        if kind is not None:
            found[split] = kind
    if not found:
        wanted = "wanted: runs on a manifest with made_shifts, e.g. made_shifts: common"
        raise ConfigError(f"no made shift was scored; {wanted}")
    rows = wide(of_metrics(narrow(results), "accuracy"))
    clean = rows[rows.role == REFERENCE].set_index(["run", "alpha"]).accuracy
    made = rows[rows.split.isin(list(found))].copy()
    made["kind"] = [found[split][0] for split in made.split]
    made["severity"] = [found[split][1] for split in made.split]
    made["error"] = 1 - made.accuracy
    made["clean"] = 1 - clean.reindex(made.set_index(["run", "alpha"]).index).to_numpy()
    return made.reset_index(drop=True)


def corruption_table(results: pd.DataFrame) -> pd.DataFrame:
    """Corruption errors against zero-shot: how much of its error is left on each kind.

    Made shifts alone are looked at, at all severities that were scored. mce is the mean over the
    kinds of ImageNet-C; over all where none of those is there.

    Arguments:
        results: of `clipft.results`.

    Returns:
        A row per run, alpha and kind: run, recipe, method, lr, steps, seed, alpha, kind, severities
        (how many), error (mean over them, a fraction), ce and relative_ce (1: as zero-shot; below
        1: better), mce and relative_mce of the run at this alpha; see `metrics.corruption`.

    Raises:
        ConfigError: where no made shift was scored, or no run at alpha 0.

    Example:
        >>> clipft.corruption_table(clipft.results("runs"))
        Traceback (most recent call last):
        clipft.errors.ConfigError: no made shift was scored; ...
    """
    import pandas as pd

    rows = made_rows(results)
    zero_shot = dict(list(rows[rows.alpha == ZERO_SHOT].groupby(["run", "kind"])))
    lines = []
    for (run, _, kind), own in rows.groupby(["run", "alpha", "kind"], sort=False):
        base = zero_shot.get((run, kind))
        if base is None or sorted(base.severity) != sorted(own.severity):
            continue
        first = own.iloc[0]
        error, base_error = own.error.to_numpy(), base.error.to_numpy()
        relative = relative_corruption_error(error, base_error, first.clean, base.clean.iloc[0])
        line: dict[str, Any] = {"kind": kind, "severities": len(own), "error": error.mean()}
        line |= {"ce": corruption_error(error, base_error), "relative_ce": relative}
        lines.append({key: first[key] for key in RUN_KEYS} | line)
    if not lines:
        raise ConfigError("no run is scored at alpha 0 and on made shifts: clipft wise RUN")
    return _with_means(pd.DataFrame(lines))


def _with_means(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the means over kinds."""
    common = table[table.kind.isin(list(COMMON))]
    counted = table if common.empty else common
    means = counted.groupby(["run", "alpha"])[["ce", "relative_ce"]].mean()
    return table.join(means.set_axis(list(MCE), axis=1), on=["run", "alpha"])


def mce_lines(results: pd.DataFrame) -> list[dict[str, str]]:
    """A line to print for each recipe and alpha: mCE and relative mCE (%), means over seeds.

    No line where no made shift was scored, or no run at alpha 0 on one.
    """
    at_zero = results[results.alpha == ZERO_SHOT]
    domains = (SplitName.parse(split).domain for split in at_zero.split.unique())
    if not any(map(is_made, domains)):
        return []
    table = corruption_table(results)
    by_run = table.drop_duplicates(["run", "alpha"])
    means = by_run.groupby([*RECIPE, "alpha"], sort=False)[list(MCE)].mean().reset_index()
    lines = []
    for row in means[means.alpha > ZERO_SHOT].to_dict("records"):
        about = {"method": title_of(row["method"]), **told_of(row["lr"], row["steps"])}
        about |= {"alpha": f"{row['alpha']:g}", "mCE": f"{100 * row['mce']:.1f}"}
        lines.append(about | {"relative mCE": f"{100 * row['relative_mce']:.1f}"})
    return lines


def _kind_alone(domain: str) -> str:
    """The kind of a made domain."""
    kind = kind_of(domain)
    return "" if kind is None else kind[0]


def made_against_real(results: pd.DataFrame, alpha: float = TUNED) -> pd.DataFrame:
    """What made shifts say of each real one: their correlation over runs.

    Beside the mean over all made shifts stands each kind alone, and what is known without any: the
    accuracy on the reference.

    Arguments:
        results: of `clipft.results`, of at least three runs.
        alpha: of the models.

    Returns:
        A row per real shift and what is held against it (made, reference, a kind): r (Pearson),
        low, high (95 %, by recipes), spearman, kendall, n (runs). Accuracies are those by which the
        data set is scored.

    Raises:
        ConfigError: where no real or no made shift was scored at this alpha.

    Example:
        >>> clipft.made_against_real(clipft.results("runs"))
        Traceback (most recent call last):
        clipft.errors.ConfigError: ...
    """
    import pandas as pd

    check_comparable(results)
    rows = wide(score_rows(narrow(results[results.alpha == alpha])))
    rows["shift_of"] = [SplitName.parse(split).domain for split in rows.split]
    shifts = rows[rows.role == SHIFT]
    is_of_made = shifts["shift_of"].map(is_made)
    made, real = shifts[is_of_made], shifts[~is_of_made]
    if made.empty or real.empty:
        missing = "made" if made.empty else "real"
        wanted = "wanted: runs on a manifest with both, e.g. emoji_made"
        raise ConfigError(f"no {missing} shift was scored at alpha {alpha:g}; {wanted}")

    kind = made["shift_of"].map(_kind_alone)
    predictors = {"made": made.groupby("run").score.mean()}
    predictors["reference"] = rows[rows.role == REFERENCE].groupby("run").score.mean()
    for name, of_kind in made.groupby(kind, sort=False):
        predictors[str(name)] = of_kind.groupby("run").score.mean()

    lines = []
    for domain, models in real.groupby("shift_of"):
        for name, values in predictors.items():
            x = values.reindex(models.run).to_numpy()
            found = correlation(x, models.score.to_numpy(), models.recipe.tolist())
            line = {"shift": domain, "by": name, "r": found.r, "low": found.low}
            line |= {"high": found.high, "spearman": found.spearman, "kendall": found.kendall}
            lines.append(line | {"n": found.n})
    return pd.DataFrame(lines)
