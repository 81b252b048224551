"""How well estimates without labels did on shifts whose labels are known, and what rules that
choose by them lost. Per reference and shift, never one mean over shifts.

Leave one shift out: what is fitted, the line that makes an accuracy of what only orders models, the
premise of agreement on the line, the bound of agreement, is fitted on other shifts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TUNED, ZERO_SHOT
from ..data.made_shifts import that_count
from ..data.splits import SplitName
from ..errors import ConfigError
from ..metrics.correlation import fit_line
from ..metrics.ranking import Clusters, Measured, mean_of, ordered_share, spearman
from ..metrics.without_labels import FEWEST_MODELS, line_of_accuracies
from .choosing import AGREEMENT
from .shift_estimates import COLUMNS, ESTIMATORS, KIND, LINES, shift_estimates

if TYPE_CHECKING:
    import pandas as pd

CLOSE = 0.01  # of the best validation accuracy: 1 point
BOUNDS = (0.6, 0.7, 0.8, 0.9)  # of agreement, shown beside the fitted one
FITTED = tuple(np.arange(0.5, 1, 0.05).round(2).tolist())  # bounds among which one is fitted
SETS = {"tuned": "tuned models", "mixed": "all alphas above 0"}  # models that are ordered
# What a rule may take: tuned models within a point of the best; zero-shot, too; all there are.
CANDIDATES = ("close", "close or zero-shot", "all")
RECORD = [
    *("reference", "split", "models", "estimator", "n", "recipes", "fitted"),
    *("mae", "mae_low", "mae_high", "spearman", "spearman_low", "spearman_high"),
    *("pairs", "pairs_low", "pairs_high", "line_r", "refused"),
]
REGRETS = [
    *("reference", "split", "chooses", "candidates", "rule", "bound", "n"),
    *("regret", "low", "high", "accuracy", "best", "val_accuracy", "val_lost", "zero_shot"),
]


# --- what there is to look at


@dataclass(frozen=True)
class Field:
    """M models on one shift: the truth, and what is known without its labels.

    models: a row each, with run, recipe, alpha, lr, steps, val_accuracy, val_n, accuracy; value
    and estimate: estimator -> (M,).
    """

    reference: str
    split: str
    models: pd.DataFrame
    value: dict[str, np.ndarray]
    estimate: dict[str, np.ndarray]

    @property
    def accuracy(self) -> np.ndarray:
        """The true one, (M,)."""
        return self.models.accuracy.to_numpy()

    def column(self, name: str) -> np.ndarray:
        """Of `models`, (M,)."""
        return self.models[name].to_numpy()

    def among(self, models: str) -> Field:
        """One of SETS alone."""
        alpha = self.column("alpha")
        rows = alpha == TUNED if models == "tuned" else alpha > ZERO_SHOT
        parts = []
        for of in (self.value, self.estimate):
            parts.append({name: values[rows] for name, values in of.items()})
        return Field(self.reference, self.split, self.models[rows], parts[0], parts[1])


def fields_of(estimates: pd.DataFrame) -> list[Field]:
    """The shifts of `shift_estimates` whose labels are known, each with all its models.

    Raises ConfigError where there is none, or models of several data sets or zero-shot models are
    mixed.
    """
    if not set(COLUMNS) <= set(getattr(estimates, "columns", ())):
        raise ConfigError("expected runs, or the table of clipft.shift_estimates(RUNS)")
    for key in KIND[:2]:
        if estimates[key].nunique() > 1:
            raise ConfigError(f"runs of several {key}; keep one: table[table.{key} == ...]")
    known = estimates[estimates.accuracy.notna()]
    if known.empty:
        raise ConfigError("no shift with labels: a record needs the truth beside the estimates")
    about = ["run", "recipe", "method", "seed", "alpha", "lr", "steps"]
    about += ["accuracy", "val_accuracy", "val_n"]
    fields = []
    for (reference, split), rows in known.groupby(["reference", "split"], sort=False):
        models = rows.drop_duplicates(["run", "alpha"])[about].reset_index(drop=True)
        places = [tuple(place) for place in models[["run", "alpha"]].itertuples(index=False)]
        columns = []
        for column in ("value", "estimate"):
            by_model = rows.pivot_table(
                index=["run", "alpha"], columns="estimator", values=column, dropna=False
            ).loc[places]
            names = [name for name in ESTIMATORS if name in by_model]
            columns.append({name: by_model[name].to_numpy() for name in names})
        fields.append(Field(str(reference), str(split), models, columns[0], columns[1]))
    return fields


def _estimates(given: Any) -> pd.DataFrame:
    """The table itself, or that of runs; lines of agreement also where their premise fails."""
    if hasattr(given, "columns"):
        return given
    return shift_estimates(given, resamples=0, refuse=False)


def _others(field: Field, fields: Sequence[Field], *, same_reference: bool) -> list[Field]:
    """The fields of other shifts, of those that count: real ones where there are any; and of models
    that were not chosen on this shift's domain.
    """
    domain = SplitName.parse(field.split).domain
    others = []
    for other in fields:
        fits = other.reference == field.reference or not same_reference
        if other.split != field.split and other.reference != domain and fits:
            others.append(other)
    domain_of = {other.split: SplitName.parse(other.split).domain for other in others}
    wanted = set(that_count(domain_of.values()))
    return [other for other in others if domain_of[other.split] in wanted]


# --- the record of each estimator


def track_record(runs: Any) -> pd.DataFrame:
    """How far each estimator was off, and how well it ordered models, on shifts with labels.

    Of what only orders models, accuracy is read off a line that is fitted on the reference's other
    shifts (fitted). Agreement on the line stands here where it is refused, too: refused says why,
    by the accuracies on other shifts, which is what one can know.

    Arguments:
        runs: a folder of runs, a list, or the table of `shift_estimates(runs, refuse=False)`.

    Returns:
        A row per reference, split, set of models (tuned, mixed: all alphas above 0) and estimator:
        n models, recipes, mae (mean absolute error, points), spearman, pairs (the share of pairs
        that is ordered as in truth; a coin has 0.5), each with its 95 % interval over recipes (nan
        below four), line_r (of val and true accuracy, in probits) and refused.

    Raises:
        ConfigError: where no shift has labels, or several data sets or models are mixed.

    Example:
        >>> record = clipft.track_record("runs")
        >>> of_atc = record[(record.estimator == "atc") & (record.models == "mixed")]
        >>> sorted(of_atc.split)
        ['clipart/test', 'sketch/test']
    """
    import pandas as pd

    fields = fields_of(_estimates(runs))
    rows = []
    for models in SETS:
        of_set = [field.among(models) for field in fields]
        for field in of_set:
            others = _others(field, of_set, same_reference=True)
            for name in field.value:
                rows.append({"models": models} | _record_row(field, others, name))
    return pd.DataFrame(rows, columns=RECORD)


def _record_row(field: Field, others: Sequence[Field], name: str) -> dict[str, Any]:
    """The record of one estimator on one shift."""
    clusters = Clusters.of(field.column("recipe").tolist())
    value = field.value[name]
    estimate = field.estimate[name]
    is_fitted = not ESTIMATORS[name].estimates
    if is_fitted:
        estimate = _read_off(name, field, others)
    row: dict[str, Any] = {"reference": field.reference, "split": field.split, "estimator": name}
    row |= {"n": len(value), "recipes": clusters.count, "fitted": is_fitted}
    row |= {"line_r": _line_r([field]), "refused": _refused(name, field, others)}
    errors = 100 * np.abs(estimate - field.accuracy)
    measured = {"mae": clusters.measure(mean_of(errors))}
    if np.isnan(value).any():
        measured |= {"spearman": Measured(), "pairs": Measured()}
    else:
        measured["spearman"] = clusters.measure(spearman(value, field.accuracy))
        measured["pairs"] = clusters.measure(ordered_share(value, field.accuracy))
    for key, of in measured.items():
        row |= {key: of.value, f"{key}_low": of.low, f"{key}_high": of.high}
    return row


def _read_off(name: str, field: Field, others: Sequence[Field]) -> np.ndarray:
    """Accuracy as a line through other shifts' models says it, within 0 ... 1."""
    if not others:
        return np.full(len(field.accuracy), np.nan)
    x = np.concatenate([other.value[name] for other in others])
    y = np.concatenate([other.accuracy for other in others])
    line = None if np.isnan(x).any() else fit_line(x, y)
    if line is None:
        return np.full(len(field.accuracy), np.nan)
    return np.clip(line.slope * field.value[name] + line.offset, 0, 1)


def _line_r(fields: Sequence[Field]) -> float:
    """Mean r of accuracy on val and under shift, in probits, over shifts; nan without one."""
    found = [line_of_accuracies(field.column("val_accuracy"), field.accuracy) for field in fields]
    told = [r for r in found if not np.isnan(r)]
    return float(np.mean(told)) if told else np.nan


def _refused(name: str, field: Field, others: Sequence[Field]) -> str:
    """Why agreement on the line would be refused here, by what other shifts say; "" otherwise."""
    if name not in LINES:
        return ""
    if len(field.accuracy) < FEWEST_MODELS:
        return f"{len(field.accuracy)} models; wanted: {FEWEST_MODELS}"
    r = _line_r(others)
    if r < 0:
        return f"on other shifts the better on val, the worse (r = {r:.2f})"
    return ""


# --- what rules lose that choose by them


RULES = {  # beside the estimators, whose rule is their largest value
    "accuracy_then_gap": "Validation accuracy, then energy gap",
    "agreement_bound": "Validation accuracy, agreement >= {bound:g}",
    "agreement_fitted": "Validation accuracy, agreement >= a fitted bound",
    "smallest_alpha": "Smallest alpha",
    "smallest_steps": "Smallest lr x steps",
    "zero_shot": "Do nothing (zero-shot)",
}


def title_of_rule(row: Any) -> str:
    """A row of `regrets` in words: its rule, and the bound that was given."""
    if row.rule in RULES:
        return RULES[row.rule].format(bound=row.bound)
    return ESTIMATORS[row.rule].title


@dataclass(frozen=True)
class Rule:
    """One way to choose a model: mask (B, M) of candidates to the place of the chosen one (B,).

    bound: of agreement, nan for other rules.
    """

    name: str
    choose: Callable[[np.ndarray], np.ndarray]
    bound: float = np.nan


def regrets(runs: Any, bounds: Sequence[float] = BOUNDS) -> pd.DataFrame:
    """What each rule loses under shift against the best of its candidates, in points.

    Rules: each estimator by its largest value; accuracy_then_gap, the rule `energy_gap` of
    `choosing`; agreement_bound, the best on val among all that agree with zero-shot so often, with
    the bounds given and one that is fitted on other shifts (agreement_fitted: there it had the best
    mean of val and shift accuracy); and what looks at no image: smallest_alpha, smallest_steps (lr
    x steps), zero_shot, which is to do nothing.

    Candidates: close, tuned models within a point of the best validation accuracy, which val cannot
    tell apart; close or zero-shot; all. zero_shot, as a rule, is shown for each.

    Arguments:
        runs: as of `track_record`.
        bounds: of agreement.

    Returns:
        A row per reference, split, what is chosen (alpha: of each run; model: of all runs and
        alphas), candidates and rule: n choices, regret (points, with its 95 % interval over
        recipes), accuracy under shift of what is chosen and the best there was, val_accuracy and
        val_lost (points against the best on val), zero_shot (share of choices that are to do
        nothing).

    Raises:
        ConfigError: as `track_record`.

    Example:
        >>> table = clipft.regrets("runs")
        >>> rows = table[(table.chooses == "alpha") & (table.candidates == "all")]
        >>> rows[rows.rule == "zero_shot"].zero_shot.tolist()
        [1.0, 1.0]
    """
    import pandas as pd

    fields = fields_of(_estimates(runs))
    rows: list[dict[str, Any]] = []
    for field in fields:
        fitted = fitted_bound(field, fields)
        for rule in rules_of(field, bounds, fitted):
            for candidates in CANDIDATES:
                rows += _regret_rows(field, rule, candidates)
    table = pd.DataFrame(rows, columns=REGRETS)
    by = ["reference", "split", "chooses", "candidates"]
    return table.sort_values(by, kind="stable", ignore_index=True)


def rules_of(field: Field, bounds: Sequence[float], fitted: float = np.nan) -> list[Rule]:
    """All rules that this field has the numbers for."""
    rules = []
    for name, value in field.value.items():
        if not np.isnan(value).any():
            rules.append(Rule(name, _largest(value)))
    if "val_gap" in field.value and not np.isnan(field.value["val_gap"]).any():
        rules.append(Rule("accuracy_then_gap", _accuracy_then_gap(field)))
    if "agreement" in field.value and not np.isnan(field.value["agreement"]).any():
        for bound in bounds:
            rules.append(Rule("agreement_bound", _agreeing(field, bound), bound))
        if not np.isnan(fitted):
            rules.append(Rule("agreement_fitted", _agreeing(field, fitted), fitted))
    alpha = field.column("alpha")
    tuned_first = 1e12 * (alpha == ZERO_SHOT)  # to do nothing is a rule of its own
    steps = field.column("lr") * field.column("steps")
    rules.append(Rule("smallest_alpha", _largest(-alpha - tuned_first)))
    # Of equal lr x steps the smallest alpha.
    rules.append(Rule("smallest_steps", _largest(-steps * (1 + 1e-6 * alpha) - tuned_first)))
    first = int(np.flatnonzero(alpha == ZERO_SHOT)[0]) if (alpha == ZERO_SHOT).any() else -1
    if first >= 0:
        rules.append(Rule("zero_shot", lambda mask: np.full(len(mask), first)))
    return rules


def _largest(value: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda mask: np.where(mask, value, -np.inf).argmax(1)


def _accuracy_then_gap(field: Field) -> Callable[[np.ndarray], np.ndarray]:
    """The rule `energy_gap` of `choosing`."""
    val = field.column("val_accuracy")
    errors = np.sqrt(val * (1 - val) / field.column("val_n"))
    smallest_gap = _largest(field.value["val_gap"])

    def choose(mask: np.ndarray) -> np.ndarray:
        best = _largest(val)(mask)
        as_good = mask & (val >= (val - errors)[best][:, None])
        return smallest_gap(as_good)

    return choose


def _agreeing(field: Field, bound: float = AGREEMENT) -> Callable[[np.ndarray], np.ndarray]:
    """The rule `agreement` of `choosing`."""
    agreement = field.value["agreement"]
    val = field.column("val_accuracy")

    def choose(mask: np.ndarray) -> np.ndarray:
        agreeing = mask & (agreement >= bound)
        most = _largest(agreement)(mask)
        return np.where(agreeing.any(1), _largest(val)(agreeing), most)

    return choose


def fitted_bound(field: Field, fields: Sequence[Field]) -> float:
    """The bound of agreement that chose best on other shifts, of all references; nan without one.

    Best: the mean of validation and shift accuracy, over these shifts, of the model that it takes
    of all.
    """
    others = []
    for other in _others(field, fields, same_reference=False):
        if "agreement" in other.value and not np.isnan(other.value["agreement"]).any():
            others.append(other)
    if not others:
        return np.nan
    worth = []
    for bound in FITTED:
        of_bound = []
        for other in others:
            (chosen,) = _agreeing(other, bound)(np.ones((1, len(other.accuracy)), bool))
            of_bound.append(other.column("val_accuracy")[chosen] + other.accuracy[chosen])
        worth.append(np.mean(of_bound))
    return FITTED[int(np.argmax(worth))]


def _candidates(field: Field, kind: str, there: np.ndarray) -> np.ndarray:
    """Of the models that are there, (B, M), those that a rule may take."""
    if kind == "all":
        return there
    val = field.column("val_accuracy")
    is_zero_shot = field.column("alpha") == ZERO_SHOT
    best = np.where(there, val, -np.inf).max(1, keepdims=True)
    close = there & (val >= best - CLOSE - 1e-12) & ~is_zero_shot
    # Where none is as good as zero-shot, that is what there is.
    lacks = ~close.any(1, keepdims=True)
    return close | (there & is_zero_shot & (lacks | (kind != "close")))


def _regret_rows(field: Field, rule: Rule, candidates: str) -> Iterator[dict[str, Any]]:
    """What a rule loses that chooses the alpha of each run, and that chooses a model."""
    clusters = Clusters.of(field.column("recipe").tolist())
    runs = field.column("run")
    names = list(dict.fromkeys(runs.tolist()))
    of_runs = np.stack([runs == name for name in names])  # (R, M)
    of_all = np.ones((1, len(runs)), bool)
    recipes = [field.column("recipe")[runs == name][0] for name in names]
    about: dict[str, Any] = {"reference": field.reference, "split": field.split}
    about |= {"candidates": candidates, "rule": rule.name, "bound": rule.bound}

    def lost(there: np.ndarray) -> np.ndarray:
        mask = _candidates(field, candidates, there)
        best = np.where(mask, field.accuracy, -np.inf).max(1)
        return 100 * (best - field.accuracy[rule.choose(mask)])

    of_alpha = Clusters.of(recipes).measure(mean_of(lost(of_runs)))
    of_model = clusters.measure(lambda counts: lost(counts > 0))
    for chooses, there, regret in (("alpha", of_runs, of_alpha), ("model", of_all, of_model)):
        mask = _candidates(field, candidates, there)
        chosen = rule.choose(mask)
        val = field.column("val_accuracy")
        best_val = np.where(there, val, -np.inf).max(1)
        yield about | {
            "chooses": chooses,
            "n": len(there),
            "regret": regret.value,
            "low": regret.low,
            "high": regret.high,
            "accuracy": field.accuracy[chosen].mean(),
            "best": np.where(mask, field.accuracy, -np.inf).max(1).mean(),
            "val_accuracy": val[chosen].mean(),
            "val_lost": 100 * (best_val - val[chosen]).mean(),
            "zero_shot": (field.column("alpha")[chosen] == ZERO_SHOT).mean(),
        }
