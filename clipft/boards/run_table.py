"""Hundreds of runs as a table to look through: a row per tuned run, or per recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..config import TUNED
from ..data.splits import SplitName
from ..errors import ConfigError
from ..runs.labels import LABEL_COLUMNS
from ..runs.names import ordered, title_of
from ..runs.scores import REFERENCE, SHIFT, VAL
from ..runs.table import check_comparable, is_counted, reference_first, scored_by

Settings = Mapping[str, Mapping[str, Any]]
"""Run id -> its recorded settings."""

READ = ("run", "split", "role", "metric", "mean")  # columns of results that scores are read from
TOLD = ("method", "lr", "steps", "seed", "recipe", *LABEL_COLUMNS)  # and what a run is
CALIBRATION = {"ece": 100, "nll": 1}  # metric -> factor
MANY = 6  # more shifts than these are not shown at first


@dataclass(frozen=True)
class Column:
    """How a page shows a column.

    Arguments:
        name: of the data frame.
        title: above the column.
        kind: text, number, or spread: a mean and the standard deviation beside it.
        digits: behind the point; None: as many as a number needs.
        shown: at first.
        about: what it is, where the title says too little.
    """

    name: str
    title: str
    kind: str = "text"
    digits: int | None = None
    shown: bool = True
    about: str = ""


def run_table(results: pd.DataFrame) -> pd.DataFrame:
    """A row per tuned run (alpha 1), accuracies in percent.

    What is called accuracy is the metric of the data set, say macro F1, where that is another one.
    Of a model that was tuned elsewhere lr and steps are not known: they are not a number.

    Arguments:
        results: of `clipft.results`.

    Returns:
        run, name and tags where any run has one, method (in words), lr, steps, seed, shift
        (the mean), energy_gap (under shift; an ensemble has none), reference, a column per shift
        (named as its split), ece (%) and nll (means under shift), recipe.

    Raises:
        ConfigError: where runs cannot be compared, or none is scored at alpha 1.

    Example:
        >>> from clipft.boards.run_table import run_table
        >>> run_table(clipft.results("runs"))["method"].tolist()
        ['FT', 'Lipsum-FT']
    """
    check_comparable(results)
    scored_by(results)  # raises
    is_tuned = (results.alpha == TUNED).to_numpy()
    told = _told(results)
    numbers = _numbers(results[is_tuned])
    runs = told.join(numbers, how="inner").reset_index()

    runs["method"] = runs.method.map({method: title_of(method) for method in set(runs.method)})
    was_trained = runs.steps > 0
    for setting in ("lr", "steps"):
        runs[setting] = runs[setting].astype(float).where(was_trained)
    labels = [label for label in LABEL_COLUMNS if label in runs and (runs[label] != "").any()]
    first = ["run", *labels, "method", "lr", "steps", "seed"]
    return runs[[*first, *numbers.columns, "recipe"]]


def _told(results: pd.DataFrame) -> pd.DataFrame:
    """What each run is, in the order of methods, then by recipe and seed."""
    columns = results.columns.intersection(["run", *TOLD])
    # Rows of a run lie together mostly: a look at where the id changes spares a million texts.
    ids = results["run"]
    is_first = (ids != ids.shift()).to_numpy(dtype=bool, na_value=True)
    told = results.loc[is_first, columns].drop_duplicates("run").set_index("run")
    place = {method: number for number, method in enumerate(ordered(told.method.unique()))}
    told["place"] = told.method.map(place)
    return told.sort_values(["place", "lr", "steps", "recipe", "seed"]).drop(columns="place")


def _numbers(tuned: pd.DataFrame) -> pd.DataFrame:
    """Of rows at one alpha the accuracies (%), energy gap and calibration of each run."""
    said = scored_by(tuned) if len(tuned) else None
    tests = tuned[tuned.role != VAL][list(READ)] if said else tuned
    if said is None or tests.empty:
        raise ConfigError("no run is scored at alpha 1, the tuned model: clipft evaluate RUN")
    is_shift = tests.role == SHIFT

    is_score = is_shift & (tests.metric == said.shift)
    is_score |= (tests.role == REFERENCE) & (tests.metric == said.reference)
    scores = tests[is_score].pivot_table(index="run", columns="split", values="mean") * 100
    on_reference = tests[is_score & ~is_shift].groupby("run")["mean"].mean() * 100
    counts = is_counted(tests)
    under_shift = tests[is_score & counts].groupby("run")["mean"].mean() * 100

    # Means under shift, or where there is none, on the reference.
    measured = tests[counts] if is_shift.any() else tests
    measured = measured[measured.metric.isin(["energy_gap", *CALIBRATION])]
    means = measured.groupby(["metric", "run"])["mean"].mean()
    of_metric = {}
    for metric in measured.metric.unique():
        of_metric[metric] = means.loc[metric]
    # What is looked for first stands first.
    numbers = {"shift": under_shift}
    if "energy_gap" in of_metric:
        numbers["energy_gap"] = of_metric["energy_gap"]
    numbers["reference"] = on_reference
    reference_splits = set(tests.loc[is_score & ~is_shift, "split"].unique())
    for split in reference_first(scores.columns.difference(list(reference_splits)), ""):
        numbers[split] = scores[split]
    for metric, factor in CALIBRATION.items():
        if metric in of_metric:
            numbers[metric] = factor * of_metric[metric]
    table = pd.DataFrame(numbers).rename_axis("run")
    return table.dropna(axis="columns", how="all")


def recipe_table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per recipe: means over seeds, and the standard deviation of each beside it.

    Arguments:
        runs: of `run_table`.

    Returns:
        recipe, method, lr, steps, seeds (how many runs), and of each number x of the runs x and
        x_sd, which is not a number for one run.

    Example:
        >>> from clipft.boards.run_table import recipe_table, run_table
        >>> recipe_table(run_table(clipft.results("runs"))).seeds.tolist()
        [1, 1]
    """
    numbers = numbers_of(runs)
    grouped = runs.groupby("recipe", sort=False)
    told = grouped[["method", "lr", "steps"]].first()
    told["seeds"] = grouped.size()
    means = grouped[numbers].mean()
    deviations = grouped[numbers].std(ddof=1).add_suffix("_sd")
    beside = [name for number in numbers for name in (number, f"{number}_sd")]
    return told.join(means).join(deviations)[[*told.columns, *beside]].reset_index()


def numbers_of(runs: pd.DataFrame) -> list[str]:
    """The columns of `run_table` that were measured."""
    return [name for name in runs.columns if name not in ("run", *TOLD)]


def columns(runs: pd.DataFrame, results: pd.DataFrame) -> list[Column]:
    """How a page shows the columns of `run_table`: titles, digits, which are shown at first.

    Arguments:
        runs: of `run_table`.
        results: that the runs are of.

    Returns:
        A record per column, in order.
    """
    words = scored_by(results).words
    reference = results.reference.iloc[0]
    under_shift = "under shift" if "shift" in runs else "on the reference"
    known = {
        "run": Column("run", "run", about="its id, the name of its folder"),
        "name": Column("name", "name"),
        "tags": Column("tags", "tags"),
        "method": Column("method", "method"),
        "lr": Column("lr", "lr", "number", about="learning rate"),
        "steps": Column("steps", "steps", "number", digits=0),
        "seed": Column("seed", "seed", "number", digits=0),
        "reference": _percent("reference", "reference %", f"{words['reference']} on {reference}"),
        "shift": _percent("shift", "mean shift %", f"{words['shift']}, mean over the shifts"),
        "energy_gap": Column(
            "energy_gap", "energy gap", "number", digits=2, about=f"{under_shift}, squared logits"
        ),
        "ece": _percent("ece", "ECE %", f"calibration error {under_shift}", shown=False),
        "nll": Column("nll", "NLL", "number", digits=2, shown=False, about=f"nats, {under_shift}"),
        "recipe": Column("recipe", "recipe", shown=False, about="all settings but the seed"),
    }
    splits = [name for name in runs.columns if name not in known]
    for split in splits:
        domain = SplitName.parse(split).domain
        about = f"{words['shift']} on {split}"
        known[split] = _percent(split, f"{domain} %", about, shown=len(splits) <= MANY)
    return [known[name] for name in runs.columns]


def _percent(name: str, title: str, about: str, *, shown: bool = True) -> Column:
    return Column(name, title, "number", digits=1, shown=shown, about=about)


def recipe_columns(of_runs: list[Column]) -> list[Column]:
    """The same of `recipe_table`; a number and its deviation are one column.

    Arguments:
        of_runs: of `columns`.

    Returns:
        A record per column, in order.
    """
    by_name = {column.name: column for column in of_runs}
    recipe = Column("recipe", "recipe", about=by_name["recipe"].about)
    seeds = Column("seeds", "seeds", "number", digits=0, about="how many runs")
    found = [recipe, by_name["method"], by_name["lr"], by_name["steps"], seeds]
    for column in of_runs:
        if column.name not in ("run", *TOLD):
            about = f"{column.about}; mean ± standard deviation over seeds"
            own = Column(column.name, column.title, "spread", column.digits, column.shown, about)
            found.append(own)
    return found


def runs_answer(results: pd.DataFrame, settings: Settings | None = None) -> dict[str, Any]:
    """All that the page's view of runs is made of, as JSON has it.

    Arguments:
        results: of `clipft.results`.
        settings: of each run, as its folder records them; the filter finds them.

    Returns:
        columns and rows of the runs; recipes, the same of these, where a number is [mean, standard
        deviation]; findable, what the filter looks at, see `findable`; common, the settings that
        all runs share; unfinished, the runs that are left out.
    """
    runs = run_table(results)
    shown = columns(runs, results)
    recipes = recipe_table(runs)
    of_recipes = recipe_columns(shown)
    found, common = findable(runs, results, settings or {})
    return {
        "columns": [asdict(column) for column in shown],
        "rows": _rows([_plain(runs[column.name]) for column in shown]),
        "recipes": {
            "columns": [asdict(column) for column in of_recipes],
            "rows": _rows([_cells(recipes, column) for column in of_recipes]),
        },
        "findable": found,
        "common": common,
        "unfinished": list(results.attrs.get("unfinished", [])),
    }


def findable(
    runs: pd.DataFrame, results: pd.DataFrame, settings: Settings
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the filter looks at: {run, names, settings} of each run; and the settings of all.

    Settings that are the same in all runs are told once: of a thousand runs they are a megabyte.

    Arguments:
        runs: of `run_table`.
        results: that the runs are of.
        settings: of each run, as its folder records them.

    Returns:
        A mapping per run, in the order of `runs`, and the settings that all share.
    """
    told = _told(results).loc[runs.run]
    labels = [label for label in LABEL_COLUMNS if label in runs]
    own = told[["lr", "steps", "seed", "recipe", *labels]].to_dict("records")
    of_runs: list[dict[Any, Any]] = []
    for run, mine in zip(runs.run, own, strict=True):
        of_runs.append({**settings.get(run, {}), **mine})
    common = _common(of_runs)
    found = []
    rows = runs.to_dict("records")
    for row, method, mine in zip(rows, told.method, of_runs, strict=True):
        names = [method, row["method"], *(row[label] for label in labels)]
        differ = {key: value for key, value in mine.items() if key not in common}
        found.append({"run": row["run"], "names": names, "settings": differ})
    return found, common


def _common(of_runs: list[dict[Any, Any]]) -> dict[str, Any]:
    """The settings that all runs have, with the same value."""
    first, *others = of_runs
    common = {}
    for key, value in first.items():
        if all(key in other and other[key] == value for other in others):
            common[key] = value
    return common


def _cells(recipes: pd.DataFrame, column: Column) -> list[Any]:
    """A column of recipes: values, or pairs of a mean and a deviation."""
    values = _plain(recipes[column.name])
    if column.kind != "spread":
        return values
    deviations = _plain(recipes[f"{column.name}_sd"])
    return [list(pair) for pair in zip(values, deviations, strict=True)]


def _plain(values: pd.Series) -> list[Any]:
    """Texts, or numbers of no more digits than are looked at; what is not a number is None."""
    if not pd.api.types.is_numeric_dtype(values):
        return values.astype(str).tolist()
    numbers = values.to_numpy(float)
    if values.name not in ("lr", "lr_sd"):
        numbers = numbers.round(6)
    cells = numbers.astype(object)
    cells[~np.isfinite(numbers)] = None
    return cells.tolist()


def _rows(of_columns: list[list[Any]]) -> list[list[Any]]:
    return [list(row) for row in zip(*of_columns, strict=True)]
