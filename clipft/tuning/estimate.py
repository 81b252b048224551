"""Accuracy where there is no label: a guess from confidences, with its interval and its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..runs.shift_estimates import ESTIMATORS

if TYPE_CHECKING:
    from ..runs.scores import Scores

ESTIMATOR = ESTIMATORS["mean_confidence"]
# How far it was off where the truth is known: ten models, FT and Lipsum-FT, and three shifts.
RECORD = (
    "On EmojiShift, where the truth is known, it was off by 4 to 15 points on nine shifts, less"
    " than other guesses that need no second shift; its interval is of the draw of images alone,"
    " and does not know that."
)
WARNING = "such estimates were off by 4 to 15 points on EmojiShift"


@dataclass(frozen=True)
class Estimate:
    """A guessed accuracy of n images without labels, a fraction with its 95 % interval."""

    split: str
    n: int
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        numbers = [100 * each for each in (self.mean, self.low, self.high)]
        return "{:.1f} % [{:.1f}, {:.1f}]".format(*numbers)


def estimate(scores: Scores, validated: Scores) -> Estimate:
    """What `ESTIMATOR` says of a model on images without labels, by its validation images."""
    found = ESTIMATOR.estimate(validated, scores)
    return Estimate(scores.split, len(scores.ids), found.accuracy, found.low, found.high)
