"""Which model, and which alpha: by validation images, and by images whose labels nobody looks at.

    candidate   zero-shot, or a run at an alpha
    agreement   share of images under shift on which a candidate says what zero-shot says
    rule        of `runs.choosing.pick`: the best validation accuracy among all candidates whose
                agreement is at least a bound

The images are unlabelled ones, or made shifts of the *validation* images. No test split is read
here: the functions below take validation scores and scores beside, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import ZERO_SHOT
from ..errors import RunError
from ..metrics.without_labels import agreement
from ..runs.choosing import AGREEMENT, pick
from ..runs.names import title_of
from ..runs.scores import Scores, ScoreStore

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.run import Run

RULE = "agreement"
BOUND = AGREEMENT
# Why this rule, in the page's words; papermill_runs/made_agreement.py prints the numbers.
RECORD = (
    "with three other hands of EmojiShift as reference, agreement with zero-shot on made shifts"
    " told the order of 66 runs at five alphas under real shift (rank correlations 0.99 to 1.00),"
    " accuracy on the same made shifts told it the wrong way round (-0.91 to -0.96), and so did"
    " validation accuracy (-0.84 to -0.91)"
)


@dataclass(frozen=True)
class Choice:
    """What the rule took, and what of.

    rows: a row per candidate, see `candidates`. place: of the one that was taken, in them.
    """

    rows: pd.DataFrame
    place: int
    splits: tuple[str, ...]  # on which agreement was measured

    @property
    def row(self) -> dict[Any, Any]:
        """The candidate that was taken."""
        return self.rows.loc[self.place].to_dict()

    @property
    def agreeing(self) -> int:
        """How many candidates say often enough what zero-shot says."""
        return int((self.rows.agreement >= BOUND).sum())

    @property
    def best(self) -> dict[Any, Any]:
        """The candidate of the best validation accuracy."""
        return self.rows.loc[self.rows.val_accuracy.idxmax()].to_dict()

    @property
    def is_zero_shot(self) -> bool:
        """Whether doing nothing won."""
        return bool(self.row["alpha"] == ZERO_SHOT)

    @property
    def called(self) -> str:
        """In words, what was taken."""
        if self.is_zero_shot:
            return "the zero-shot model"
        return f"{title_of(self.row['method'])} at alpha {self.row['alpha']:g}"


def choose(rows: pd.DataFrame, splits: Sequence[str] = ()) -> Choice:
    """What the rule takes of these candidates."""
    return Choice(rows, int(pick(rows, RULE, BOUND)), tuple(splits))


def candidates(
    runs: Sequence[Run], beside: Mapping[str, ScoreStore], alphas: Sequence[float]
) -> pd.DataFrame:
    """A row per candidate, zero-shot once and first: run, method, alpha, val_accuracy, val_error,
    val_n, val_gap, agreement (the mean of splits), and agreement on each split.

    beside: run -> its scores on images under shift, at the same alphas.
    """
    import pandas as pd

    rows = []
    for run in runs:
        store = run.folder.image_scores(with_ids=False)
        split = f"{run.reference}/val"
        for alpha in alphas:
            if alpha == ZERO_SHOT and rows:
                continue
            about = {"run": run.id, "method": run.config.method, "alpha": alpha}
            validated = _validated(store.read((split, alpha)))
            rows.append(about | validated | _agreement(beside[run.id], alpha))
    if not rows:
        raise RunError("no run to choose among; wanted: at least one that is scored")
    return pd.DataFrame(rows)


def _validated(scores: Scores) -> dict[str, float]:
    """Accuracy on validation images, its standard error sqrt(a (1 - a) / n), mean energy gap."""
    accuracy = float(scores.correct.mean())
    count = len(scores.label)
    error = float(np.sqrt(accuracy * (1 - accuracy) / count))
    gap = np.nan if scores.energy_gap is None else float(np.mean(scores.energy_gap))
    return {"val_accuracy": accuracy, "val_error": error, "val_n": count, "val_gap": gap}


def _agreement(beside: ScoreStore, alpha: float) -> dict[str, float]:
    """Share of predictions that are zero-shot's: of each split, and the mean of splits."""
    shares = {}
    for split in dict.fromkeys(name for name, _ in beside.keys):
        zero_shot = beside.read((split, ZERO_SHOT)).prediction
        here = beside.read((split, alpha)).prediction
        shares[f"agreement: {split}"] = agreement(here, zero_shot).value
    return {"agreement": float(np.mean(list(shares.values()))), **shares}


# --- when it should abstain


@dataclass(frozen=True)
class Threshold:
    """Where to abstain: images that are less confident get no label.

    On validation images those that are as confident as `confidence` are right so often
    (`precision`), and so many they are (`coverage`); fractions.
    """

    confidence: float
    precision: float
    coverage: float


def threshold(scores: Scores, precision: float) -> Threshold | None:
    """The smallest confidence from which on so many labels are right; None where there is none.

    Images of equal confidence stay together.
    """
    order = np.argsort(-scores.confidence, kind="stable")
    confidence = scores.confidence[order]
    right = scores.correct[order]
    kept = np.arange(1, len(order) + 1)
    precisions = np.cumsum(right) / kept
    is_last_of_equals = np.append(confidence[1:] != confidence[:-1], True)
    enough = np.flatnonzero(is_last_of_equals & (precisions >= precision))
    if not len(enough):
        return None
    last = enough[-1]
    least = _short(scores.confidence, float(confidence[last]))
    return Threshold(least, float(precisions[last]), float(kept[last] / len(order)))


def _short(confidences: np.ndarray, least: float) -> float:
    """A confidence with few digits that keeps the same images: what a person will type."""
    for digits in range(2, 7):
        rounded = float(np.floor(least * 10**digits) / 10**digits)
        others = (confidences >= rounded) & (confidences < least)
        if rounded <= least and not others.any():
            return rounded
    return least


def kept_above(scores: Scores, confidence: float) -> tuple[float, float]:
    """(share of images that keep their label, share of these that are right: NaN where none)."""
    kept = scores.confidence >= confidence
    right = scores.correct[kept]
    return float(kept.mean()), float(right.mean()) if len(right) else float("nan")
