"""Choosing alpha, or a model, without labels of the shift: by reference accuracy or energy gap.

    accuracy    the best accuracy, or what else the data set is scored by, on held-out reference
                images
    energy_gap  of all within one standard error of that best, the one with the smallest energy gap
                on the same images
    agreement   the best accuracy among all that predict at least a bound (0.8) of unlabelled images
                of the shift as zero-shot does

The last two are ours, not a paper's. Reference images cannot tell models apart that are within one
error, and the gap says which stayed nearest to zero-shot. Agreement alone would always take zero-
shot, which agrees with itself: so it is a constraint. Its bound is a choice between reference and
shift, and no label of the reference tells it: on EmojiShift 0.8 had the best mean of both on other
shifts, whichever was left out, of 0.6, 0.7, 0.8 and 0.9 (`track_record.regrets`). `oracle` is what
the shift's own labels would have chosen; no one has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TUNED
from ..errors import ConfigError, unknown
from ..metrics.comparison import paired_difference
from .scores import REFERENCE, SHIFT, VAL
from .table import (
    RECIPE,
    check_comparable,
    counted,
    narrow,
    of_metrics,
    score_rows,
    scored_by,
    wide,
)

if TYPE_CHECKING:
    import pandas as pd

RULES = ("accuracy", "energy_gap", "agreement", "oracle")
AGREEMENT = 0.8  # with zero-shot under shift, the least that is allowed
NEEDED = {"agreement": "agreement", "oracle": "shift_accuracy"}  # rule -> column beside val's
INTERVAL = 2 * 1.96  # standard errors in a 95 % interval
# Rows are grouped by the first column; what a rule takes of a group is named by the second.
AMONG = {"alphas": ("run", "alpha"), "models": ("seed", "run")}


def pick(rows: pd.DataFrame, rule: str, bound: float = AGREEMENT) -> Any:
    """Index of the row that a rule takes; of ties the first.

    rows: of `candidates`: run, alpha, val_accuracy, val_error, val_gap; and what the rule needs:
    agreement (of each row, with zero-shot on unlabelled images of the shift), shift_accuracy.
    bound: of agreement; where none reaches it, the row that agrees most. energy_gap is of what is
    within one standard error of the best: `val_error`.

    Raises ConfigError for another rule, or where a column is missing.
    """
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    if not can_pick(rows, rule):
        wanted = "clipft pick --unlabelled FOLDER" if rule == "agreement" else "scores of a shift"
        raise ConfigError(f"the rule {rule} needs a column {NEEDED[rule]}; wanted: {wanted}")
    if rule == "accuracy":
        return rows.val_accuracy.idxmax()
    if rule == "oracle":
        return rows.shift_accuracy.idxmax()
    if rule == "agreement":
        agreeing = rows[rows.agreement >= bound]
        return rows.agreement.idxmax() if agreeing.empty else agreeing.val_accuracy.idxmax()

    best = rows.loc[rows.val_accuracy.idxmax()]
    as_good = rows[rows.val_accuracy >= best.val_accuracy - best.val_error]
    return as_good.val_gap.idxmin()


def can_pick(rows: pd.DataFrame, rule: str) -> bool:
    """Whether rows have what a rule needs beside validation."""
    return rule not in NEEDED or NEEDED[rule] in rows


def check_among(among: str) -> None:
    """Raise ConfigError for a word that names nothing to choose among."""
    if among not in AMONG:
        raise unknown("choice among", among, AMONG)


def choices(
    results: pd.DataFrame, among: str = "alphas", agreement: pd.DataFrame | None = None
) -> pd.DataFrame:
    """What each rule takes and is worth: by reference accuracy, by energy gap, by an oracle.

    The rules stand on top of `clipft.runs.choosing`. Runs without an energy gap are left out.

    Arguments:
        results: of `clipft.results`.
        among: alphas of each run, or models of each seed.
        agreement: of `agreements`, with zero-shot on unlabelled images: the rule `agreement` is
            there, too, and a shift with labels need not be.

    Returns:
        A row per run or seed, how many there were to choose from, then for each rule the alpha (or
        the run), reference and mean shift test accuracy, as fractions.

    Raises:
        ConfigError: where nothing is left to choose, or `among` is another word.

    Example:
        >>> chosen = clipft.choices(clipft.results("runs"))
        >>> chosen[["method", "accuracy: alpha", "energy_gap: alpha", "oracle: alpha"]].shape
        (2, 4)
    """
    import pandas as pd

    check_among(among)
    group_by, chosen_by = AMONG[among]
    rows = candidates(results, with_shift=agreement is None or has_shift(results))
    if agreement is not None:
        rows = rows.merge(agreement, on=["run", "alpha"])
    if among == "models":
        rows = rows[rows.alpha == TUNED]

    lines = []
    for name, group in rows.groupby(group_by, sort=False):
        if len(group) < 2:
            continue
        line = {group_by: name, "of": len(group)}
        if among == "alphas":
            line = {"method": group.method.iloc[0], **line}
        line |= _taken(group, chosen_by)
        lines.append(line)

    if not lines:
        raise ConfigError(
            f"nothing to choose among the {among}: score runs at several alphas, or train several"
        )
    return pd.DataFrame(lines)


def _taken(group: pd.DataFrame, chosen_by: str) -> dict[str, Any]:
    """What each rule takes of a group, and is worth; rules that lack a column are left out."""
    columns = {}
    for rule in RULES:
        if not can_pick(group, rule):
            continue
        chosen = group.loc[pick(group, rule)]
        columns[f"{rule}: {chosen_by}"] = chosen[chosen_by]
        columns[f"{rule}: reference"] = chosen.reference_accuracy
        if "shift_accuracy" in group:
            columns[f"{rule}: shift"] = chosen.shift_accuracy
    return columns


def has_shift(results: pd.DataFrame) -> bool:
    """Whether a shift with labels was scored."""
    return bool((results.role == SHIFT).any())


def candidates(results: pd.DataFrame, *, with_shift: bool = True) -> pd.DataFrame:
    """One row per run and alpha, the numbers that rules go by.

    val_accuracy, val_error (its standard error), val_gap, val_n, reference_accuracy, shift_accuracy
    (mean of the shifts; left out without with_shift). What is called accuracy is what the data set
    is scored by. Raises ConfigError where all runs lack one of these.
    """
    check_comparable(results)
    rows = wide(of_metrics(narrow(results), *scored_by(results), "energy_gap"))
    if "energy_gap" not in rows:
        raise ConfigError("no run has an energy gap; it needs a CLIP with a byte-pair text tower")
    roles = {VAL, REFERENCE, SHIFT} if with_shift else {VAL, REFERENCE}
    if not roles <= set(rows.role):
        raise ConfigError(
            "a choice needs scores on validation, reference and shift images: clipft wise RUN,"
            " where the data set has a val and a shift"
        )

    keys = ["run", *RECIPE, "seed", "alpha"]
    val = rows[rows.role == VAL].groupby(keys)
    reference = rows[rows.role == REFERENCE].groupby(keys)
    shift = counted(rows).groupby(keys)

    # A later column goes to the rows that are there; what is missing in one of them is dropped.
    table = val.score.first().to_frame("val_accuracy")
    table["val_gap"] = val.energy_gap.first()
    table["val_n"] = val.n.first()
    table["val_error"] = _errors(results, table, keys)
    table["reference_accuracy"] = reference.score.first()
    if with_shift:
        table["shift_accuracy"] = shift.score.mean()
    return table.dropna().reset_index()


def _errors(results: pd.DataFrame, table: pd.DataFrame, keys: list[str]) -> pd.Series:
    """The standard error on val of each row of `candidates`.

    Of an accuracy a of n images it is sqrt(a (1 - a) / n); of another metric its interval says it.
    """
    metric = scored_by(results).reference
    if metric == "accuracy":
        return (table.val_accuracy * (1 - table.val_accuracy) / table.val_n) ** 0.5
    rows = score_rows(results[results.role == VAL]).groupby(keys)
    return (rows.high.first() - rows.low.first()) / INTERVAL


@dataclass(frozen=True)
class Verdict:
    """How often choosing by energy gap beats choosing by accuracy, in mean shift accuracy.

    shift and reference: mean differences, as fractions, of n pairs: both rules choose for the same
    run, or of the models of the same seed. [low, high] is the 95 % interval of that under shift
    (`paired_difference`), not a number where n is 1.
    """

    n: int
    wins: int
    ties: int
    losses: int
    shift: float
    reference: float
    low: float = np.nan
    high: float = np.nan

    def __str__(self) -> str:
        interval = ""
        if self.n > 1:
            interval = f" [{100 * self.low:.1f}, {100 * self.high:.1f}]"
        return (
            f"better under shift in {self.wins} of {self.n}, "
            f"equal in {self.ties}, worse in {self.losses}; "
            f"mean {100 * self.shift:+.1f} points under shift{interval}, "
            f"{100 * self.reference:+.1f} on the reference"
        )


def verdict(chosen: pd.DataFrame) -> Verdict:
    """Count where the energy gap's choice is better under shift, equal or worse than accuracy's.

    Arguments:
        chosen: of `choices`.

    Returns:
        wins, ties, losses of n, and the mean differences under shift, with its paired 95 %
        interval, and on the reference, as fractions; as a text it is one line.

    Example:
        >>> print(clipft.verdict(clipft.choices(clipft.results("runs"))))
        better under shift in ... of 2, equal in ..., worse in ...; mean ...
    """
    change = chosen["energy_gap: shift"] - chosen["accuracy: shift"]
    paired = paired_difference(chosen["accuracy: shift"], chosen["energy_gap: shift"])
    cost = chosen["energy_gap: reference"] - chosen["accuracy: reference"]
    return Verdict(
        n=len(chosen),
        wins=int((change > 0).sum()),
        ties=int((change == 0).sum()),
        losses=int((change < 0).sum()),
        shift=paired.mean,
        reference=float(cost.mean()),
        low=paired.low,
        high=paired.high,
    )


def ordered_pairs(results: pd.DataFrame) -> dict[str, float]:
    """Of all pairs of tuned models, the fraction whose order under shift reference images tell.

    A tie is half told, 0.5 is a coin.

    Arguments:
        results: of `clipft.results`.

    Returns:
        accuracy (higher is better) and energy_gap (lower is better) -> the fraction, both on
        held-out reference images.

    Raises:
        ConfigError: where no two models differ under shift.

    Example:
        >>> sorted(clipft.ordered_pairs(clipft.results("runs")))
        ['accuracy', 'energy_gap']
    """
    rows = candidates(results)
    rows = rows[rows.alpha == TUNED]
    order = pair_orders(rows.shift_accuracy)
    if not order.any():
        raise ConfigError(
            f"{len(rows)} tuned models, no two of which differ under shift; train more"
        )

    guesses = {"accuracy": pair_orders(rows.val_accuracy), "energy_gap": -pair_orders(rows.val_gap)}
    fractions = {}
    for rule, guess in guesses.items():
        agreement = (guess * order)[order != 0]
        fractions[rule] = float((1 + agreement).mean() / 2)
    return fractions


def pair_orders(column: pd.Series) -> np.ndarray:
    """For each pair of values 1, 0 or -1: the first is larger, equal or smaller."""
    values = column.to_numpy()
    pairs = np.triu_indices(len(values), 1)
    return np.sign(values[:, None] - values)[pairs]
