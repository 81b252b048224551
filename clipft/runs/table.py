"""The tidy results of many runs, and the tables that figures and readers want: means over seeds, a
row per recipe.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import DEFAULT, TUNED, ZERO_SHOT, plain_settings
from ..data.made_shifts import is_made, that_count, titled
from ..data.splits import ScoredBy, SplitName
from ..errors import ConfigError, RunError, first_line, unknown
from ..metrics.accuracy import harmonic_mean
from ..metrics.correlation import effective_robustness
from ..progress import write
from .about import CONFIG_COLUMNS as CONFIG_COLUMNS, MADE_COLUMNS as MADE_COLUMNS
from .folder import DEFAULT_RUNS, folders_of, with_split_columns
from .made import words_of
from .many import ScoredRun, read_runs, table_of
from .names import is_ensemble, ordered, title_of, told_of
from .scores import REFERENCE, SHIFT, VAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

# alike in runs that can be compared; the names beside the digests are for the eye
COMPARABLE = ["manifest_digest", "model_digest", "reference", "selection"]
SAME_DATA = ["manifest_digest", "reference"]
DIGESTS = ["manifest_digest", "model_digest", "recipe", "family"]  # texts, also where all digits
KIND = ["manifest", "manifest_digest", "model", "model_digest", "reference", "selection"]
# name a recipe: its runs differ in their seed alone
RECIPE = ["method", "lr", "steps", "recipe"]
# column -> what a table that mixes them mixes
MIXED = {
    "protocol": "protocols",
    "precision": "precisions",
    "scored_in": "precisions of scores",
    "versions": "versions",
    "device": "devices",
    "threads": "numbers of threads",
}
NAMED = 4  # values in the line that says what is mixed
SPLIT_KEYS = ["reference", "alpha", "split", "domain", "part", "role", "n"]
WIDE = ["run", *RECIPE, "seed", *SPLIT_KEYS]  # what a row of `wide` is of
CALIBRATION = {"nll": (1, 2), "ece": (100, 1)}  # metric -> factor and digits of its column
MEAN_MADE = "mean made shift"
MANY_MADE = 5  # more made shifts than these have no columns of their own where people read
RUN_KEYS = ["run", *RECIPE, "seed", "alpha"]


def results(runs: Any = DEFAULT_RUNS, where: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Every scored run as one tidy table: a row per run, alpha, split and metric.

    The method of a combination is, say, `lipsum+tpgm`; its lr and steps are those of its first run.

    Arguments:
        runs: a folder of runs, a Run, its folder, or a list of these.
        where: settings, or columns of the table, that a run must have: {"model": "ViT-B-16"}; of
            its tags one, {"tags": "good"}.

    Returns:
        Columns run, recipe (all of the configuration but the seed, as 6 letters), family (all but
        seed and lr), CONFIG_COLUMNS, reference, alpha, split, domain, part, role, metric, mean,
        low, high (95 % over images, see `scores.table`), n; scored_by, the metric of the data set,
        which tables and figures show; together, see `ScoredBy`; and how it was made: protocol,
        precision, scored_in (the precision of its scores), versions, device, threads,
        seconds_per_step of its training (NaN where that was not recorded); and what people call it:
        name, and tags with a blank between two, see `clipft.label`. Unfinished runs are left out
        and listed in attrs["unfinished"].

    Raises:
        RunError: where there is no scored run, or none of these settings.
        ConfigError: where a key is neither a setting nor a column.

    Example:
        >>> table = clipft.results("runs")
        >>> rows = table[(table.metric == "accuracy") & (table.alpha == 1)]
        >>> rows.pivot(index="split", columns="method", values="mean").shape
        (4, 2)
    """
    scored = []
    unfinished = []
    for folder in folders_of(runs):
        if folder.is_scored:
            scored.append(folder)
        else:
            unfinished.append(folder.name)
    if not scored:
        raise RunError(
            f"no scored run under {runs}; train one: clipft train,"
            " or score one: clipft evaluate RUN"
        )
    chosen = read_runs(scored)
    if where:
        chosen = [run for run in chosen if _fits(run, where)]
    if not chosen:
        asked = ", ".join(f"{key}={value}" for key, value in (where or {}).items())
        raise RunError(f"none of the {len(scored)} scored runs under {runs} has {asked}")
    table = table_of(chosen)
    table.attrs["unfinished"] = unfinished
    return table


def _fits(run: ScoredRun, where: Mapping[str, Any]) -> bool:
    """Whether a run has these settings, or these values in its columns of the table."""
    for key, value in where.items():
        if key in run.columns:
            has = run.value(key)
        else:
            settings = plain_settings() | run.folder.config()
            if key not in settings:
                raise unknown("setting or column", key, {*settings, *run.columns})
            has = settings[key]
        is_tagged = key == "tags" and value in str(has).split()
        if has != value and not is_tagged:
            return False
    return True


def scored_by(results: pd.DataFrame) -> ScoredBy:
    """What the data set of results is scored by: accuracy unless its manifest says another metric.

    Raises ConfigError where that was not measured.
    """
    found = _said_to_score(results)
    measured = set(results.metric.unique())
    for metric in found:
        if metric not in measured:
            wanted = "delete its images.parquet and scores.parquet and score it: clipft wise RUN"
            raise ConfigError(f"no run has {metric}, by which its data set is scored; {wanted}")
    return found


def _said_to_score(results: pd.DataFrame) -> ScoredBy:
    """What `with_scored_by` wrote into rows; accuracy where it did not."""
    is_shift = results.role == SHIFT
    shifts = [SplitName.parse(split).domain for split in results.split[is_shift].unique()]
    made = bool(shifts) and all(map(is_made, shifts))
    if "scored_by" not in results or results.empty:
        return ScoredBy(made=made)
    metric_by_kind = {}
    for kind, is_kind in (("reference", ~is_shift), ("shift", is_shift)):
        of_kind = results.scored_by[is_kind]
        metric_by_kind[kind] = (of_kind if len(of_kind) else results.scored_by).iloc[0]
    together = results.together.iloc[0] if "together" in results else ""
    return ScoredBy(**metric_by_kind, together=together, made=made)


def score_rows(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of the metric by which each split is scored."""
    told = _said_to_score(results)
    is_shift = results.role == SHIFT
    of_shift = is_shift & (results.metric == told.shift)
    return results[of_shift | (~is_shift & (results.metric == told.reference))]


def narrow(results: pd.DataFrame) -> pd.DataFrame:
    """The columns that `wide` and `score_rows` look at: of a million rows the others take long."""
    others = ("family", "scored_by", "together", "metric", "mean")
    return results[results.columns.intersection([*COMPARABLE, *WIDE, *others])]


def is_counted(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of the shifts over which a mean is taken, see `that_count`."""
    is_shift = rows.role == SHIFT
    domains = {split: SplitName.parse(split).domain for split in rows.split[is_shift].unique()}
    wanted = set(that_count(domains.values()))
    splits = [split for split, domain in domains.items() if domain in wanted]
    return is_shift & rows.split.isin(splits)


def counted(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the shifts over which a mean is taken."""
    return rows[is_counted(rows)]


def of_means(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without those shifts that no mean is taken over."""
    return rows[(rows.role != SHIFT) | is_counted(rows)]


def of_tuned_shifts(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of `wide` of tuned models under those shifts that count."""
    rows = narrow(results)
    asked = counted(rows[rows.alpha == TUNED])
    return wide(asked) if len(asked) else wide(rows).iloc[:0]


def of_metrics(results: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    """The rows of these metrics alone: `wide` of a tenth of the rows takes a tenth of the time."""
    return results[results.metric.isin(metrics)]


def mixture(results: pd.DataFrame) -> str:
    """One line that says which protocols, precisions, versions, devices and threads are mixed.

    "" where all runs were made alike. Seconds are left out: no two runs take the same.

    Arguments:
        results: of `clipft.results`.

    Returns:
        The line.

    Example:
        >>> clipft.mixture(clipft.results("runs"))
        ''
    """
    runs = results.drop_duplicates("run")
    mixed = []
    for column, plural in MIXED.items():
        if column in runs and runs[column].nunique() > 1:
            mixed.append(f"{plural} ({_odd_words(runs[column])})")
    return f"this table mixes {'; '.join(mixed)}" if mixed else ""


def _odd_words(values: pd.Series) -> str:
    """What not all values have in common, with the number of runs of each."""
    words = [set(words_of(value)) for value in values]
    common = set.intersection(*words)
    counts = Counter(word for of_run in words for word in of_run - common)
    texts = []
    for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:NAMED]:
        texts.append(f"{word} in {count} run{'s' if count > 1 else ''}")
    if len(counts) > NAMED:
        texts.append(f"{len(counts) - NAMED} more")
    return ", ".join(texts)


def wide(results: pd.DataFrame) -> pd.DataFrame:
    """Tidy results with a column per metric: a row per run, alpha and split.

    Arguments:
        results: of `clipft.results`.

    Returns:
        run, recipe, method, lr, steps, seed, reference, alpha, split, domain, part, role, n, the
        metrics, and score: that metric by which the data set is scored.

    Raises:
        ConfigError: where runs of several data sets, models or references are mixed: they cannot be
            compared.

    Example:
        >>> rows = clipft.wide(clipft.results("runs"))
        >>> shifts = rows[(rows.role == "shift") & (rows.alpha == 1)]
        >>> print(clipft.correlation(shifts.energy_gap, shifts.relative_accuracy).n)
        4
    """
    check_comparable(results)
    rows = with_split_columns(results)
    by_metric = rows.pivot_table(index=WIDE, columns="metric", values="mean", observed=True)
    by_metric = by_metric.reset_index()
    told = _said_to_score(results)
    if set(told) <= set(by_metric):
        is_shift = by_metric.role == SHIFT
        by_metric["score"] = by_metric[told.reference].where(~is_shift, by_metric[told.shift])
    return by_metric


def check_comparable(results: pd.DataFrame) -> None:
    """Raise ConfigError for what is no table of results, or mixes runs of several kinds."""
    missing = {"run", "metric", *COMPARABLE}.difference(getattr(results, "columns", ()))
    if missing:
        got = type(results).__name__
        raise ConfigError(f"expected the table of clipft.results(RUNS), got {got} {results!r:.60}")
    for key in COMPARABLE:
        if results[key].nunique() > 1:
            named = [key.removesuffix("_digest"), key]
            kinds = results[list(dict.fromkeys(named))].drop_duplicates().astype(str)
            listed = ", ".join(sorted(kinds.agg(" ".join, axis=1)))
            raise ConfigError(
                f"runs of several kinds of {named[0]} ({listed});"
                f" keep one: results[results.{key} == ...]"
            )


def paths(results: pd.DataFrame) -> pd.DataFrame:
    """A row per run and alpha: reference accuracy, mean shift accuracy, that of every split.

    What is called accuracy is the metric of the data set, say macro F1, where that is another one.

    Arguments:
        results: of `clipft.results`.

    Returns:
        run, recipe, method, lr, steps, seed, alpha, a column per test split, reference_accuracy,
        shift_accuracy; fractions.

    Raises:
        ConfigError: where runs cannot be compared.

    Example:
        >>> len(clipft.paths(clipft.results("runs")))  # two runs, 11 alphas
        22
    """
    check_comparable(results)
    scored_by(results)  # raises
    rows = wide(score_rows(narrow(results)))
    of_reference = rows[rows.role == REFERENCE].set_index(RUN_KEYS)["score"]
    of_shifts = counted(rows).groupby(RUN_KEYS)["score"].mean()
    tests = rows[rows.role != VAL]
    by_split = tests.pivot_table(index=RUN_KEYS, columns="split", values="score")
    means: list[pd.DataFrame | pd.Series] = [
        of_reference.rename("reference_accuracy"),
        of_shifts.rename("shift_accuracy"),
    ]
    return by_split.join(means).reset_index()


def recipes(results: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: a row per recipe and alpha that all its runs have, and how many.

    Arguments:
        results: of `clipft.results`.

    Returns:
        recipe, method, lr, steps, alpha, seeds (how many), and the accuracies that `paths` has.

    Raises:
        ConfigError: where runs cannot be compared.

    Example:
        >>> clipft.recipes(clipft.results("runs")).seeds.unique().tolist()
        [1]
    """
    grouped = paths(results).drop(columns=["run", "seed"]).groupby([*RECIPE, "alpha"])
    seeds = grouped.size().rename("seeds")
    means = grouped.mean().join(seeds).reset_index()
    most = means.groupby(RECIPE)["seeds"].transform("max")
    return means[means.seeds == most]


def changes(results: pd.DataFrame, alpha: float = TUNED) -> pd.DataFrame:
    """What tuning changed: a row per run, its accuracies against its zero-shot model.

    Arguments:
        results: of `clipft.results`.
        alpha: of the model after tuning.

    Returns:
        Columns reference and shift (mean) are differences, as fractions.

    Raises:
        ConfigError: where no run is scored at alpha 0 and at this alpha.

    Example:
        >>> clipft.changes(clipft.results("runs"))[["method", "reference", "shift"]].shape
        (2, 3)
    """
    names = {"reference_accuracy": "reference", "shift_accuracy": "shift"}
    rows = paths(results).rename(columns=names)
    columns = list(names.values())
    zero_shot = rows[rows.alpha == ZERO_SHOT].set_index("run")[columns]
    changed = rows[(rows.alpha == alpha) & rows.run.isin(zero_shot.index)].reset_index(drop=True)
    if changed.empty:
        raise ConfigError(f"no run is scored at alpha 0 and {alpha:g}: clipft wise RUN")
    changed[columns] = changed[columns].to_numpy() - zero_shot.loc[changed.run].to_numpy()
    return changed


def effective(
    results: pd.DataFrame,
    baselines: Sequence[str] | pd.DataFrame | Path | str = ("ft",),
    alpha: float = TUNED,
) -> pd.DataFrame:
    """Effective robustness: accuracy under shift above what models of that reference accuracy have.

    The line is fitted in logits to the tuned runs of the baselines, or to zero-shot models, see
    `metrics.correlation.effective_robustness`. Each shift by itself, with intervals:
    `robustness_table`.

    Arguments:
        results: of `clipft.results`.
        baselines: methods through which the line goes, or the table of `clipft.evaluate`, or its
            CSV file, or any rows of results, all alphas of which count: a run's WiSE path, say; at
            least two different models.
        alpha: of the models that are measured.

    Returns:
        A row per run: reference_accuracy, shift_accuracy and effective_robustness, as fractions.

    Raises:
        ConfigError: where the baselines give no line, or are of another data set.

    Example:
        >>> table = clipft.results("runs")
        >>> clipft.effective(table, baselines=["ft"])  # there is one run of it
        Traceback (most recent call last):
        clipft.errors.ConfigError: ...
    """
    rows = paths(results)
    base = baseline_paths(results, rows, baselines)
    robust = rows[rows.alpha == alpha].reset_index(drop=True)
    robust["effective_robustness"] = effective_robustness(
        robust.shift_accuracy.to_numpy(),
        robust.reference_accuracy.to_numpy(),
        base.shift_accuracy.to_numpy(),
        base.reference_accuracy.to_numpy(),
    )
    return robust[[*RUN_KEYS, "reference_accuracy", "shift_accuracy", "effective_robustness"]]


def baseline_paths(results: pd.DataFrame, rows: pd.DataFrame, baselines: Any) -> pd.DataFrame:
    """Rows of `paths` through which the line of `effective` goes."""
    import pandas as pd

    if isinstance(baselines, str | Path):
        baselines = read_baselines(baselines)
    if not isinstance(baselines, pd.DataFrame):
        return rows[(rows.alpha == TUNED) & rows.method.isin(baselines)]
    return paths_of_models(baselines_of(results, baselines))


def read_baselines(file: Path | str) -> pd.DataFrame:
    """The CSV that `clipft evaluate --csv` wrote; raises ConfigError where it is none."""
    import pandas as pd

    try:
        table = pd.read_csv(file, converters=dict.fromkeys(DIGESTS, str))
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise ConfigError(f"{file} is no table of baselines: {first_line(error)}") from None
    missing = {"run", "metric", *COMPARABLE}.difference(table.columns)
    if missing:
        wanted = "wanted: what clipft evaluate --model ... --csv FILE wrote"
        raise ConfigError(f"{file} has no column {min(missing)}; {wanted}")
    return table


def baselines_of(results: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """Those baselines that were scored on the data set and against the reference of the results.

    Raises ConfigError where there is none.
    """
    kept = baselines
    for key in SAME_DATA:
        kept = kept[kept[key].isin(results[key].unique())]
    if kept.empty:
        known = (
            baselines[["manifest", "reference"]].drop_duplicates().agg(", reference ".join, axis=1)
        )
        mine = f"{results.manifest.iloc[0]}, reference {results.reference.iloc[0]}"
        raise ConfigError(f"the baselines are of {'; '.join(known)}; the results of {mine}")
    return kept


def paths_of_models(results: pd.DataFrame) -> pd.DataFrame:
    """`paths` of models that are not of one kind: each by itself."""
    import pandas as pd

    return pd.concat([paths(model) for _, model in results.groupby("model_digest")])


def best_by_val(results: pd.DataFrame) -> dict[str, str]:
    """The recipe of each method that is best on reference validation images at alpha 1.

    By the metric of the data set.

    Arguments:
        results: of `clipft.results`.

    Returns:
        Method -> recipe, by the mean over seeds.

    Raises:
        ConfigError: where no run has validation images, or runs cannot be compared.

    Example:
        >>> sorted(clipft.best_by_val(clipft.results("runs")))
        ['ft', 'lipsum']
    """
    rows = score_rows(results)
    val = rows[(rows.role == VAL) & (rows.alpha == TUNED)]
    if val.empty:
        tuned = "no run is scored on validation images at alpha 1, the tuned model"
        raise ConfigError(f"{tuned}: clipft evaluate RUN, where its data set has a val")
    mean = val.groupby(RECIPE)["mean"].mean().reset_index()
    best = mean.loc[mean.groupby("method")["mean"].idxmax()]
    return dict(zip(best.method, best.recipe, strict=True))


def reference_first(splits: Iterable[str], reference: str) -> list[str]:
    """Names of splits in the order of tables and figures: the reference, then others by name, then
    those that are made of it.
    """

    def place(split: str) -> tuple[bool, bool, str]:
        domain = SplitName.parse(split).domain
        return domain != reference, is_made(domain), split

    return sorted(splits, key=place)


def results_table(
    results: pd.DataFrame, *, calibration: bool = False, intervals: bool = False
) -> pd.DataFrame:
    """A table to print: a row per recipe, means over seeds with the standard deviation.

    Tuned accuracies (%), the best alpha by reference validation, and energy gap; of many made
    shifts the mean alone, which is never part of the other mean; where the data set is scored by
    another metric, that one, and a column says which. The first row is
    the zero-shot model. An ensemble has no energy gap. Where runs were made with several protocols,
    precisions, versions, devices or threads, one line says so, which stays in attrs["mixture"].

    Arguments:
        results: of `clipft.results`.
        calibration: also NLL (nats) and ECE (%) on the reference and on the shifts.
        intervals: in place of the deviation, 95 % intervals of the mean over seeds (Student's).

    Returns:
        Texts.

    Raises:
        ConfigError: where runs cannot be compared.

    Example:
        >>> table = clipft.results_table(clipft.results("runs"))
        >>> table.method.iloc[0]
        'zero-shot'
    """
    import pandas as pd

    check_comparable(results)
    told = scored_by(results)
    rows = wide(
        of_metrics(narrow(results), *told, "energy_gap", *(CALIBRATION if calibration else ()))
    )
    tests = rows[rows.role != VAL]
    spread = _interval if intervals else _spread
    lines = []

    zero_shot = tests[tests.alpha == ZERO_SHOT]
    if "energy_gap" in zero_shot and zero_shot.energy_gap.notna().any():
        zero_shot = zero_shot[zero_shot.energy_gap.notna()]  # an ensemble has none
    if len(zero_shot):
        first = zero_shot[zero_shot.run == zero_shot.run.iloc[0]]
        head = {"method": "zero-shot", "lr": "", "steps": "", "alpha": "0"}
        lines.append(head | _line(first, told, spread, calibration=calibration))

    titles = _titles(results)
    by_recipe = dict(list(tests.groupby(RECIPE)))
    val_of = dict(list(rows[rows.role == VAL].groupby("recipe")))
    place = {name: number for number, name in enumerate(ordered(tests.method.unique()))}
    for key in sorted(by_recipe, key=lambda key: (place[key[0]], *key[1:])):
        name, lr, steps, recipe = key
        of_recipe = by_recipe[key]
        best = _best_alpha(val_of.get(recipe, rows[:0]), of_recipe.run.nunique())
        about = {"method": titles[recipe], **told_of(lr, steps), "alpha": "1"}
        if TUNED in set(of_recipe.alpha):
            tuned = of_recipe[of_recipe.alpha == TUNED]
            lines.append(about | _line(tuned, told, spread, calibration=calibration))
        if best not in (ZERO_SHOT, TUNED):
            mixed = about | {"alpha": f"{best:g} (val)"}
            if not is_ensemble(name):
                mixed["method"] += " + WiSE"
            at_best = of_recipe[of_recipe.alpha == best]
            lines.append(mixed | _line(at_best, told, spread, calibration=calibration))

    table = pd.DataFrame(lines)
    _say_what_is_unusual(table, results)
    return _with_mixture(table, results)


def _say_what_is_unusual(table: pd.DataFrame, results: pd.DataFrame) -> None:
    """Add columns for a choice on the reported split, and for another metric than accuracy."""
    selection = results.selection.iloc[0]
    if selection != "holdout":
        table.insert(4, "selection", selection)
    told = scored_by(results)
    if set(told) != {"accuracy"}:
        table.insert(4, "metric", told.title)


def _titles(results: pd.DataFrame) -> dict[str, str]:
    """Recipe -> its method in words, and its protocol where that is not clipft's own."""
    titles = {}
    columns = ["recipe", "method", *results.columns.intersection(["protocol"])]
    for recipe in results[columns].drop_duplicates().to_dict("records"):
        title = title_of(recipe["method"])
        protocol = recipe.get("protocol", DEFAULT)
        titles[recipe["recipe"]] = title if protocol == DEFAULT else f"{title}, {protocol}"
    return titles


def _with_mixture(table: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """The table itself; one line says what is mixed in it, and stays with it."""
    line = mixture(results)
    table.attrs["mixture"] = line
    if line:
        write(line)
    return table


def _best_alpha(val: pd.DataFrame, runs: int) -> float:
    """The alpha of best mean validation accuracy, of those that all runs of a recipe have.

    Without validation nothing is chosen: the tuned model.
    """
    accuracy = val.groupby("alpha").score
    of_all = accuracy.mean()[accuracy.size() == runs]
    return TUNED if of_all.empty else float(of_all.idxmax())


def _line(
    rows: pd.DataFrame, told: ScoredBy, spread: Callable[..., str], *, calibration: bool
) -> dict[str, str]:
    """The numbers of one line of `results_table`: rows of one recipe at one alpha."""
    columns = {"seeds": str(rows.run.nunique())}
    made = rows[rows.split.map(_is_made_split).astype(bool)]
    for split in reference_first(rows.split.unique(), rows.reference.iloc[0]):
        if not _is_made_split(split) or made.split.nunique() <= MANY_MADE:
            name = titled(SplitName.parse(split).domain)
            columns[name] = spread(100 * rows[rows.split == split].score)
    # Whether made ones count all results say: a recipe may be measured on made ones alone.
    shifts = made if told.made else counted(rows.drop(made.index))
    of_shifts = shifts.groupby("run").score.mean()
    if len(shifts):
        columns[MEAN_MADE if told.made else "mean shift"] = spread(100 * of_shifts)
    if len(made) and not told.made:
        columns[MEAN_MADE] = spread(100 * made.groupby("run").score.mean())
    if told.together and len(shifts):
        of_reference = rows[rows.role == REFERENCE].groupby("run").score.mean()
        columns["harmonic mean"] = spread(100 * harmonic_mean(of_reference, of_shifts))
    if calibration:
        columns |= _calibration(rows, shifts, spread)
    columns["energy gap"] = ""
    if "energy_gap" in rows:
        # Under shift, or where there is none, on the reference.
        told_on = shifts if len(shifts) else rows[rows.role != SHIFT]
        columns["energy gap"] = spread(told_on.groupby("run").energy_gap.mean(), 2)
    return columns


def _calibration(
    rows: pd.DataFrame, shifts: pd.DataFrame, spread: Callable[..., str]
) -> dict[str, str]:
    """Means on the reference, and over the shifts where there are any."""
    columns = {}
    by_role = {REFERENCE: rows[rows.role == REFERENCE], SHIFT: shifts}
    for metric, (factor, digits) in CALIBRATION.items():
        for role, of_role in by_role.items():
            if len(of_role) or role == REFERENCE:
                means = of_role.groupby("run")[metric].mean()
                columns[f"{metric.upper()} {role}"] = spread(factor * means, digits)
    return columns


def _is_made_split(split: str) -> bool:
    return is_made(SplitName.parse(split).domain)


def _spread(values: pd.Series, digits: int = 1) -> str:
    """Mean ± standard deviation over runs; a dash where there is no such number."""
    if values.empty or values.isna().any():
        return "-"
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.{digits}f}"


def _interval(values: pd.Series, digits: int = 1) -> str:
    """Mean and the 95 % interval of it over runs; a dash where there is no such number."""
    from ..metrics.intervals import of_repeats

    if len(values) < 2 or values.isna().any():
        return _spread(values, digits)
    low, high = of_repeats(values.to_numpy())
    return f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
