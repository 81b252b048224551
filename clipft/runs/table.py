"""The tidy results of many runs, and the tables that figures and readers want: means over seeds, a
row per recipe.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import DEFAULT, TUNED, ZERO_SHOT, digest, plain_settings
from ..data.splits import SplitName
from ..errors import ConfigError, RunError, first_line
from ..metrics.correlation import effective_robustness
from ..progress import write
from .folder import ABOUT, DEFAULT_RUNS, RunFolder, folders_of, with_split_columns
from .identity import model_name, without_places
from .made import Made, words_of
from .names import MethodName, is_ensemble, ordered, title_of, told_of
from .scores import REFERENCE, SHIFT, VAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

# alike in runs that can be compared; the names beside the digests are for the eye
COMPARABLE = ["manifest_digest", "model_digest", "reference", "selection"]
SAME_DATA = ["manifest_digest", "reference"]
DIGESTS = ["manifest_digest", "model_digest", "recipe", "family"]  # texts, also where all digits
KIND = ["manifest", "manifest_digest", "model", "model_digest", "reference", "selection"]
# name a recipe: its runs differ in their seed alone
RECIPE = ["method", "lr", "steps", "recipe"]
# of a run's configuration, in the tidy table
CONFIG_COLUMNS = (
    *("manifest", "manifest_digest", "model", "model_digest"),
    *("method", "lr", "steps", "seed", "selection"),
)
# and of how it was made, see `Made`; the settings among them are those that no kind tells apart
MADE_COLUMNS = ("protocol", "precision", "versions", "device", "threads", "seconds_per_step")
# column -> what a table that mixes them mixes
MIXED = {
    "protocol": "protocols",
    "precision": "precisions",
    "versions": "versions",
    "device": "devices",
    "threads": "numbers of threads",
}
NAMED = 4  # values in the line that says what is mixed
NO_RECIPE = (
    "seed",
    "after",
    "rows_digest",
    *ABOUT,
)  # of a recorded configuration, what names no recipe
RUN_KEYS = ["run", *RECIPE, "seed", "alpha"]


def results(runs: Any = DEFAULT_RUNS) -> pd.DataFrame:
    """Every scored run as one tidy table: a row per run, alpha, split and metric.

    The method of a combination is, say, `lipsum+tpgm`; its lr and steps are those of its first run.

    Arguments:
        runs: a folder of runs, a Run, its folder, or a list of these.

    Returns:
        Columns run, recipe (all of the configuration but the seed, as 6 letters), family (all but
        seed and lr), CONFIG_COLUMNS, reference, alpha, split, domain, part, role, metric, mean,
        low, high (95 % over images, see `scores.table`), n; and how it was made: protocol,
        precision, versions, device, threads, seconds_per_step of its training (NaN where that was
        not recorded). Unfinished runs are left out and listed in attrs["unfinished"].

    Raises:
        RunError: where there is no scored run.

    Example:
        >>> table = clipft.results("runs")
        >>> rows = table[(table.metric == "accuracy") & (table.alpha == 1)]
        >>> rows.pivot(index="split", columns="method", values="mean").shape
        (4, 2)
    """
    import pandas as pd

    tables = []
    unfinished = []
    for folder in folders_of(runs):
        if folder.is_scored:
            tables.append(_tidy(folder))
        else:
            unfinished.append(folder.name)
    if not tables:
        raise RunError(
            f"no scored run under {runs}; train one: clipft train,"
            " or score one: clipft evaluate RUN"
        )
    table = pd.concat(tables, ignore_index=True)
    table.attrs["unfinished"] = unfinished
    return table


def _tidy(folder: RunFolder) -> pd.DataFrame:
    """One run's scores behind its configuration's columns."""
    config = folder.config()
    if not set(CONFIG_COLUMNS) <= config.keys():
        raise RunError(
            f"{folder}/config.json is no run's configuration; delete the folder and run it again"
        )
    table = folder.scores()
    settings = config | {"method": str(_name(config)), "model": model_name(config["model"])}
    for column, key in enumerate(CONFIG_COLUMNS):
        table.insert(column, key, settings[key])
    table.insert(0, "family", _recipe(config, besides=("lr",)))
    table.insert(0, "recipe", _recipe(config))
    table.insert(0, "run", folder.name)
    return table.assign(**_how_made(folder, config))


def _how_made(folder: RunFolder, config: dict[str, Any]) -> dict[str, Any]:
    """The values of MADE_COLUMNS of a run."""
    settings = plain_settings() | config
    made = Made.of(folder)
    values = (
        *(settings["protocol"], settings["precision"]),
        *(made.versions, made.devices, made.threads, made.seconds_per_step),
    )
    return dict(zip(MADE_COLUMNS, values, strict=True))


def _name(config: dict[str, Any]) -> MethodName:
    """The method of a recorded configuration, and what was done after; neither need be known."""
    after = config.get("after")
    if after is None:
        return MethodName(config["method"])
    return MethodName(config["method"], (*after["of"], after["name"]))


def _recipe(config: dict[str, Any], besides: Sequence[str] = ()) -> str:
    """6 letters that name what differs not by the seed, nor by keys besides, alone.

    A setting that is new renames no old recipe: it is at its default.
    """
    plain = plain_settings()
    left_out = (*NO_RECIPE, *besides)
    recipe = {}
    for key, value in without_places(config).items():
        is_default = key in plain and plain[key] == value
        if key not in left_out and not is_default:
            recipe[key] = value
    after = config.get("after")
    if after is not None:
        # Of which runs is left out: they carry the seed.
        recipe["after"] = [str(_name(config)), after["options"], after["among"]]
    return digest(recipe, 6)


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
        run, recipe, method, lr, steps, seed, reference, alpha, split, domain, part, role, n, and
        the metrics.

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
    where = ["reference", "alpha", "split", "domain", "part", "role", "n"]
    keys = ["run", *RECIPE, "seed", *where]
    return rows.pivot_table(
        index=keys, columns="metric", values="mean", observed=True
    ).reset_index()


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
    rows = wide(results)
    if "accuracy" not in rows:
        raise ConfigError("no accuracy in this table; wanted: the rows of clipft.results(RUNS)")
    of_reference = rows[rows.role == REFERENCE].set_index(RUN_KEYS)["accuracy"]
    of_shifts = rows[rows.role == SHIFT].groupby(RUN_KEYS)["accuracy"].mean()
    tests = rows[rows.role != VAL]
    by_split = tests.pivot_table(index=RUN_KEYS, columns="split", values="accuracy")
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
    `metrics.correlation.effective_robustness`.

    Arguments:
        results: of `clipft.results`.
        baselines: methods through which the line goes, or the table of `clipft.evaluate`, or its
            CSV file; at least two different models.
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
    base = _baselines(results, rows, baselines)
    robust = rows[rows.alpha == alpha].reset_index(drop=True)
    robust["effective_robustness"] = effective_robustness(
        robust.shift_accuracy.to_numpy(),
        robust.reference_accuracy.to_numpy(),
        base.shift_accuracy.to_numpy(),
        base.reference_accuracy.to_numpy(),
    )
    return robust[[*RUN_KEYS, "reference_accuracy", "shift_accuracy", "effective_robustness"]]


def _baselines(results: pd.DataFrame, rows: pd.DataFrame, baselines: Any) -> pd.DataFrame:
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
    is_val = (results.role == VAL) & (results.metric == "accuracy")
    val = results[is_val & (results.alpha == TUNED)]
    if val.empty:
        tuned = "no run is scored on validation images at alpha 1, the tuned model"
        raise ConfigError(f"{tuned}: clipft evaluate RUN, where its data set has a val")
    mean = val.groupby(RECIPE)["mean"].mean().reset_index()
    best = mean.loc[mean.groupby("method")["mean"].idxmax()]
    return dict(zip(best.method, best.recipe, strict=True))


def reference_first(splits: Iterable[str], reference: str) -> list[str]:
    """Names of splits in the order of tables and figures: the reference, then others by name."""

    def place(split: str) -> tuple[bool, str]:
        return SplitName.parse(split).domain != reference, split

    return sorted(splits, key=place)


def results_table(results: pd.DataFrame, *, calibration: bool = False) -> pd.DataFrame:
    """A table to print: a row per recipe, means over seeds with the standard deviation.

    Tuned accuracies (%), the best alpha by reference validation, and energy gap; the first row is
    the zero-shot model. An ensemble has no energy gap. Where runs were made with several protocols,
    precisions, versions, devices or threads, one line says so, which stays in attrs["mixture"].

    Arguments:
        results: of `clipft.results`.
        calibration: also NLL (nats) and ECE (%) on the reference and on the shifts.

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

    rows = wide(results)
    tests = rows[rows.role != VAL]
    lines = []

    zero_shot = tests[tests.alpha == ZERO_SHOT]
    if "energy_gap" in zero_shot and zero_shot.energy_gap.notna().any():
        zero_shot = zero_shot[zero_shot.energy_gap.notna()]  # an ensemble has none
    if len(zero_shot):
        first = zero_shot[zero_shot.run == zero_shot.run.iloc[0]]
        head = {"method": "zero-shot", "lr": "", "steps": "", "alpha": "0"}
        lines.append(head | _line(first, calibration=calibration))

    titles = _titles(results)
    by_recipe = dict(list(tests.groupby(RECIPE)))
    place = {name: number for number, name in enumerate(ordered(tests.method.unique()))}
    for key in sorted(by_recipe, key=lambda key: (place[key[0]], *key[1:])):
        name, lr, steps, recipe = key
        of_recipe = by_recipe[key]
        best = _best_alpha(
            rows[(rows.role == VAL) & (rows.recipe == recipe)], of_recipe.run.nunique()
        )
        about = {"method": titles[recipe], **told_of(lr, steps), "alpha": "1"}
        if TUNED in set(of_recipe.alpha):
            tuned = of_recipe[of_recipe.alpha == TUNED]
            lines.append(about | _line(tuned, calibration=calibration))
        if best not in (ZERO_SHOT, TUNED):
            mixed = about | {"alpha": f"{best:g} (val)"}
            if not is_ensemble(name):
                mixed["method"] += " + WiSE"
            at_best = of_recipe[of_recipe.alpha == best]
            lines.append(mixed | _line(at_best, calibration=calibration))

    table = pd.DataFrame(lines)
    selection = results.selection.iloc[0]
    if selection != "holdout":
        # A choice on the reported split is said in every table.
        table.insert(4, "selection", selection)
    return _with_mixture(table, results)


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
    accuracy = val.groupby("alpha").accuracy
    of_all = accuracy.mean()[accuracy.size() == runs]
    return TUNED if of_all.empty else float(of_all.idxmax())


def _line(rows: pd.DataFrame, *, calibration: bool) -> dict[str, str]:
    """The numbers of one line of `results_table`: rows of one recipe at one alpha."""
    columns = {"seeds": str(rows.run.nunique())}
    for split in reference_first(rows.split.unique(), rows.reference.iloc[0]):
        columns[SplitName.parse(split).domain] = _spread(100 * rows[rows.split == split].accuracy)
    shifts = rows[rows.role == SHIFT]
    columns["mean shift"] = _spread(100 * shifts.groupby("run").accuracy.mean())
    if calibration:
        for metric, factor, digits in (("nll", 1, 2), ("ece", 100, 1)):
            for role in (REFERENCE, SHIFT):
                means = rows[rows.role == role].groupby("run")[metric].mean()
                columns[f"{metric.upper()} {role}"] = _spread(factor * means, digits)
    columns["energy gap"] = ""
    if "energy_gap" in rows:
        columns["energy gap"] = _spread(shifts.groupby("run").energy_gap.mean(), 2)
    return columns


def _spread(values: pd.Series, digits: int = 1) -> str:
    """Mean ± standard deviation over runs; a dash where there is no such number."""
    if values.empty or values.isna().any():
        return "-"
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.{digits}f}"
