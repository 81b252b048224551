"""Choosing alpha, or a model, without labels of the shift: by reference accuracy, or by energy gap too.

    accuracy    the best accuracy on held-out reference images
    energy_gap  of all within one standard error of that best, the one with the smallest energy gap on the same images

The second rule is ours, not a paper's: reference images cannot tell such models apart, and the gap says which stayed
nearest to zero-shot. `oracle` is what the shift's own labels would have chosen; no one has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import ConfigError, unknown
from .table import RECIPE, wide

if TYPE_CHECKING:
    import pandas as pd

RULES = ("accuracy", "energy_gap", "oracle")
Among = Literal["alphas", "models"]


def pick(rows: pd.DataFrame, rule: str) -> object:
    """Index of the row of `candidates` that a rule takes; of ties the first."""
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    if rule == "accuracy":
        return rows.val_accuracy.idxmax()
    if rule == "oracle":
        return rows.shift_accuracy.idxmax()
    best = rows.loc[rows.val_accuracy.idxmax()]
    error = np.sqrt(best.val_accuracy * (1 - best.val_accuracy) / best.val_n)
    return rows[rows.val_accuracy >= best.val_accuracy - error].val_gap.idxmin()


def choices(results: pd.DataFrame, among: Among = "alphas") -> pd.DataFrame:
    """What each rule takes: a row per run (its alphas) or per seed (the tuned models), and what that is worth.

    Columns: run or seed and how many there were to choose from, then for each rule the alpha (or the run), reference
    and mean shift test accuracy, as fractions. Runs without an energy gap are left out. Raises ConfigError where
    nothing is left to choose.
    """
    import pandas as pd

    if among not in (known := ("alphas", "models")):
        raise unknown("choice among", among, known)
    rows = candidates(results)
    rows = rows[rows.alpha == 1.0] if among == "models" else rows
    found = []
    for name, part in rows.groupby("run" if among == "alphas" else "seed", sort=False):
        if len(part) < 2:
            continue
        line = {"method": part.method.iloc[0], "run": name} if among == "alphas" else {"seed": name}
        line["of"] = len(part)
        for rule in RULES:
            taken = part.loc[pick(part, rule)]
            line |= {
                f"{rule}: {'alpha' if among == 'alphas' else 'run'}": taken.alpha
                if among == "alphas"
                else taken.run,
                f"{rule}: reference": taken.reference_accuracy,
                f"{rule}: shift": taken.shift_accuracy,
            }
        found.append(line)
    if not found:
        raise ConfigError(
            f"nothing to choose among the {among}: score runs at several alphas, or train several"
        )
    return pd.DataFrame(found)


def candidates(results: pd.DataFrame) -> pd.DataFrame:
    """One row per run and alpha: val_accuracy, val_gap, val_n, reference_accuracy, shift_accuracy (means of shifts)."""
    rows = wide(results)
    if "energy_gap" not in rows:
        raise ConfigError("no run has an energy gap; it needs a CLIP with a byte-pair text tower")
    keys = ["run", *RECIPE, "seed", "alpha"]
    of = {role: part.groupby(keys) for role, part in rows.groupby("role")}
    if not {"val", "reference", "shift"} <= of.keys():
        raise ConfigError(
            "a choice needs scores on validation, reference and shift images: clipft wise RUN"
        )
    named = {
        "val_accuracy": of["val"].accuracy.first(),
        "val_gap": of["val"].energy_gap.first(),
        "val_n": of["val"].n.first(),
        "reference_accuracy": of["reference"].accuracy.first(),
        "shift_accuracy": of["shift"].accuracy.mean(),
    }
    first, *others = (column.rename(name) for name, column in named.items())
    joined = first.to_frame()
    for column in others:
        joined = joined.join(column)
    return joined.dropna().reset_index()


@dataclass(frozen=True)
class Verdict:
    """How often choosing by energy gap beats choosing by accuracy, in mean shift accuracy; differences are means."""

    n: int
    wins: int
    ties: int
    losses: int
    shift: float
    reference: float

    def __str__(self) -> str:
        return (
            f"better under shift in {self.wins} of {self.n}, equal in {self.ties}, worse in {self.losses}; "
            f"on average {100 * self.shift:+.1f} points under shift, {100 * self.reference:+.1f} on the reference"
        )


def verdict(chosen: pd.DataFrame) -> Verdict:
    """Count where the energy gap's choice is better, equal or worse than accuracy's, see `choices`."""
    change = chosen["energy_gap: shift"] - chosen["accuracy: shift"]
    cost = chosen["energy_gap: reference"] - chosen["accuracy: reference"]
    counts = (int((change > 0).sum()), int((change == 0).sum()), int((change < 0).sum()))
    return Verdict(len(chosen), *counts, float(change.mean()), float(cost.mean()))


def ordered_pairs(results: pd.DataFrame) -> dict[str, float]:
    """Of all pairs of tuned models, the fraction whose order under shift is told by reference images alone.

    By accuracy (higher is better) and by energy gap (lower is better), both on held-out reference images; a tie is half
    told, 0.5 is a coin. Raises ConfigError where no two models differ under shift.
    """
    rows = candidates(results)
    rows = rows[rows.alpha == 1.0]
    pairs = np.triu_indices(len(rows), 1)

    def order(column: str) -> np.ndarray:
        values = rows[column].to_numpy()
        return np.sign(values[:, None] - values)[pairs]

    shift = order("shift_accuracy")
    if not shift.any():
        raise ConfigError(
            f"{len(rows)} tuned models, no two of which differ under shift; train more"
        )
    told = {"accuracy": order("val_accuracy") * shift, "energy_gap": -order("val_gap") * shift}
    return {name: float((1 + agrees[shift != 0]).mean() / 2) for name, agrees in told.items()}
