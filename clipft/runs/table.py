"""The tidy results of many runs as the tables that figures and readers want: means over seeds, a row per recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import digest
from ..disk.files import read_json
from ..errors import ConfigError, RunError
from ..metrics.correlation import effective_robustness
from .folder import read_scores
from .names import is_ensemble, ordered, title_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


KIND = [
    "manifest",
    "manifest_digest",
    "model",
    "model_digest",
    "reference",
    "selection",
]  # alike in comparable runs
RECIPE = [
    "method",
    "lr",
    "steps",
    "recipe",
]  # columns that name a recipe: runs that differ in their seed alone


def method_tables() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What `clipft methods` prints: a row per method to train, and per post-hoc method."""
    from ..objectives.registry import METHODS
    from ..posthoc.registry import POSTHOC

    trains = {
        "vision": "vision tower, head",
        "image": "vision tower, scale",
        "both": "both towers, scale",
    }
    training = [
        {
            "name": m.name,
            "title": m.title,
            "lam": "" if m.lam is None else f"{m.lam:g}",
            "trains": trains.get(m.trains, m.trains),
            "options": _options(m),
            "source": m.paper,
        }
        for m in METHODS.values()
    ]
    after = [
        {
            "name": m.name,
            "title": m.title,
            "takes": "runs" if m.many else "a run",
            "options": _options(m),
            "source": m.paper,
        }
        for m in POSTHOC.values()
    ]
    return training, after


def _options(entry) -> str:
    """Names and defaults, as they are written in a setting."""
    return " ".join(f"{name}={json.dumps(value)}" for name, value in entry.options.items())


def wide(results: pd.DataFrame) -> pd.DataFrame:
    """Tidy results -> one row per run, alpha and split with a column per metric.

    Raises ConfigError where runs of several data sets, models or references are mixed: they cannot be compared.
    """
    for key in KIND:
        if results[key].nunique() > 1:
            found = ", ".join(map(str, sorted(results[key].unique())))
            raise ConfigError(
                f"runs of several kinds of {key} ({found}); keep one: results[results.{key} == ...]"
            )
    keys = ["run", *RECIPE, "seed", "reference", "alpha", "split", "role", "n"]
    return results.pivot_table(index=keys, columns="metric", values="mean").reset_index()


def paths(results: pd.DataFrame) -> pd.DataFrame:
    """One row per run and alpha: reference accuracy, mean shift accuracy and the accuracy of every split."""
    rows = wide(results)
    keys = ["run", *RECIPE, "seed", "alpha"]
    reference = (
        rows[rows.role == "reference"].set_index(keys)["accuracy"].rename("reference_accuracy")
    )
    shift = rows[rows.role == "shift"].groupby(keys)["accuracy"].mean().rename("shift_accuracy")
    splits = rows[rows.role != "val"].pivot_table(index=keys, columns="split", values="accuracy")
    return splits.join([reference, shift]).reset_index()


def recipes(results: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: one row per recipe and alpha that all of its runs have, with the number of seeds."""
    grouped = paths(results).drop(columns=["run", "seed"]).groupby([*RECIPE, "alpha"])
    means = grouped.mean().join(grouped.size().rename("seeds")).reset_index()
    return means[means.seeds == means.groupby(RECIPE)["seeds"].transform("max")]


def changes(results: pd.DataFrame, alpha: float = 1.0) -> pd.DataFrame:
    """One row per run: its change of reference and mean shift accuracy against its zero-shot model, as fractions.

    Raises ConfigError where no run is scored at alpha 0 and at this alpha.
    """
    rows = paths(results).rename(
        columns={"reference_accuracy": "reference", "shift_accuracy": "shift"}
    )
    both = ["reference", "shift"]
    zero = rows[rows.alpha == 0].set_index("run")[both]
    found = rows[(rows.alpha == alpha) & rows.run.isin(zero.index)].reset_index(drop=True)
    if found.empty:
        raise ConfigError(f"no run is scored at alpha 0 and {alpha:g}: clipft wise RUN")
    found[both] = found[both].to_numpy() - zero.loc[found.run].to_numpy()
    return found


def effective(
    results: pd.DataFrame, baselines: Sequence[str] = ("ft",), alpha: float = 1.0
) -> pd.DataFrame:
    """One row per run: reference and mean shift accuracy, and effective robustness, as fractions.

    Effective robustness is the shift accuracy above a logit-linear fit to the tuned runs of the `baselines` methods,
    see `diagnostics.effective_robustness`. Raises ConfigError where those give no line.
    """
    rows = paths(results)
    base = rows[(rows.alpha == 1.0) & rows.method.isin(baselines)]
    found = rows[rows.alpha == alpha].reset_index(drop=True)
    found["effective_robustness"] = effective_robustness(
        found.shift_accuracy, found.reference_accuracy, base.shift_accuracy, base.reference_accuracy
    )
    keys = ["run", *RECIPE, "seed", "alpha"]
    return found[[*keys, "reference_accuracy", "shift_accuracy", "effective_robustness"]]


def best_by_val(results: pd.DataFrame) -> dict[str, str]:
    """Method -> the recipe with the best reference validation accuracy at alpha 1, mean over seeds."""
    val = results[(results.role == "val") & (results.metric == "accuracy") & (results.alpha == 1.0)]
    if val.empty:
        raise ConfigError("no run is scored at alpha 1, the tuned model: clipft evaluate RUN")
    mean = val.groupby(RECIPE)["mean"].mean().reset_index()
    best = mean.loc[mean.groupby("method")["mean"].idxmax()]
    return dict(zip(best.method, best.recipe, strict=True))


def results_table(results: pd.DataFrame, calibration: bool = False) -> pd.DataFrame:
    """A row per recipe: tuned accuracies (%), the best alpha by reference validation, and energy gap.

    Mean over seeds, with the standard deviation where there are several; the first row is the zero-shot model.
    calibration: also NLL (nats) and ECE (%) on the reference and on the shifts. An ensemble has no energy gap.
    """
    import pandas as pd

    rows = wide(results)
    tests = rows[rows.role != "val"]
    reference = results.reference.iloc[0]

    def line(part: pd.DataFrame, method: str, lr: str, steps: str, alpha: str) -> dict[str, str]:
        runs = part.groupby("run")
        by_shift = part[part.role == "shift"]
        columns = {
            "method": method,
            "lr": lr,
            "steps": steps,
            "alpha": alpha,
            "seeds": str(runs.ngroups),
        }
        for split in sorted(
            part.split.unique(), key=lambda name: (name.split("/")[0] != reference, name)
        ):
            columns[split.split("/")[0]] = _spread(100 * part[part.split == split].accuracy)
        columns["mean shift"] = _spread(100 * by_shift.groupby("run").accuracy.mean())
        if calibration:
            for metric, factor, digits in (("nll", 1, 2), ("ece", 100, 1)):
                for role in ("reference", "shift"):
                    values = part[part.role == role].groupby("run")[metric].mean()
                    columns[f"{metric.upper()} {role}"] = _spread(factor * values, digits)
        columns["energy gap"] = (
            _spread(by_shift.groupby("run").energy_gap.mean(), 2) if "energy_gap" in part else ""
        )
        return columns

    zero = tests[tests.alpha == 0]
    if "energy_gap" in zero and zero.energy_gap.notna().any():
        zero = zero[zero.energy_gap.notna()]  # an ensemble has none
    lines = (
        [line(zero[zero.run == zero.run.iloc[0]], "zero-shot", "", "", "0")] if len(zero) else []
    )
    val = rows[rows.role == "val"]
    parts = dict(list(tests.groupby(RECIPE)))
    place = {name: i for i, name in enumerate(ordered(tests.method.unique()))}
    for name, lr, steps, recipe in sorted(parts, key=lambda key: (place[key[0]], *key[1:])):
        part = parts[name, lr, steps, recipe]
        tried = val[val.recipe == recipe].groupby("alpha").accuracy
        best = tried.mean()[tried.size() == part.run.nunique()].idxmax()
        title = title_of(name)
        if 1.0 in set(part.alpha):
            lines.append(line(part[part.alpha == 1.0], title, f"{lr:g}", str(steps), "1"))
        if best not in (0.0, 1.0):
            mixed = title if is_ensemble(name) else f"{title} + WiSE"
            lines.append(
                line(part[part.alpha == best], mixed, f"{lr:g}", str(steps), f"{best:g} (val)")
            )
    table = pd.DataFrame(lines)
    if (
        results.selection.iloc[0] != "holdout"
    ):  # a choice on the reported split is said in every table
        table.insert(4, "selection", results.selection.iloc[0])
    return table


def _spread(values: pd.Series, digits: int = 1) -> str:
    if values.isna().any():
        return "-"
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.{digits}f}"


CONFIG_COLUMNS = (
    "manifest",
    "manifest_digest",
    "model",
    "model_digest",
    "method",
    "lr",
    "steps",
    "seed",
    "selection",
)


def _summary(folder: Path) -> pd.DataFrame:
    table = read_scores(folder / "scores.parquet")
    if "low" not in table:
        raise RunError(
            f"{folder}/scores.parquet is of an older clipft; score the run again: clipft wise {folder}"
        )
    return table


def results(runs: Path | str) -> pd.DataFrame:
    """Every finished run under a folder as one tidy table: one row per run, alpha, split and metric.

    Columns: run, recipe (all of the configuration but the seed, as 6 letters), those of CONFIG_COLUMNS, then reference,
    alpha, split, role, metric, mean, low, high (95 % bootstrap over images), n. The method of a combination is, say,
    `lipsum+tpgm`; its lr and steps are those of its first run. Unfinished runs are left out and listed in
    `.attrs["unfinished"]`. Raises RunError where there is no finished run.
    """
    import pandas as pd

    tables, unfinished = [], []
    for config_file in sorted(Path(runs).glob("*/config.json")):
        folder = config_file.parent
        if not (folder / "scores.parquet").exists():
            unfinished.append(folder.name)
            continue
        config = read_json(config_file)
        if not isinstance(config, dict) or not set(CONFIG_COLUMNS) <= config.keys():
            raise RunError(
                f"{config_file} is no run's configuration; delete the folder and run it again"
            )
        table = _summary(folder)
        after = config.pop("after", None)
        recipe = {key: value for key, value in config.items() if key != "seed"}
        if after is not None:  # of which runs is left out: they carry the seed
            config["method"] = "+".join([config["method"], *after["of"], after["name"]])
            recipe["after"] = [config["method"], after["options"], after["among"]]
        for column, key in enumerate(CONFIG_COLUMNS):
            table.insert(column, key, config[key])
        table.insert(0, "recipe", digest(recipe, 6))
        table.insert(0, "run", folder.name)
        tables.append(table)
    if not tables:
        raise RunError(
            f"no scored run under {runs}; train one: clipft train, or score one: clipft evaluate RUN"
        )
    table = pd.concat(tables, ignore_index=True)
    table.attrs["unfinished"] = unfinished
    return table
