"""TODO: docstring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError
from ..metrics import accuracy as metrics
from ..metrics.calibration import calibration_error
from ..metrics.comparison import Comparison, mcnemar
from ..metrics.intervals import Statistic, interval, resampled as resampled_

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Scores:
    """What one model says of each image of one split; N images.

    prediction (N,) class index, confidence (N,) fraction, nll (N,) nats, energy_gap (N,) squared logits,
    feature_distortion (N,) in units of the embedding, label (N,), ids (N). An ensemble has none of these two, but
    with one member wise_distance (N,) in logits and wise_agreement (N,), 1 where WiSE predicts the same.
    """

    split: str
    alpha: float
    ids: tuple[str, ...]
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    nll: np.ndarray
    energy_gap: np.ndarray | None = None
    feature_distortion: np.ndarray | None = None
    feature_distortion_normalised: np.ndarray | None = None
    wise_distance: np.ndarray | None = None
    wise_agreement: np.ndarray | None = None


MOVED = (
    "energy_gap",
    "feature_distortion",
    "feature_distortion_normalised",
    "wise_distance",
    "wise_agreement",
)
COLUMNS = ["reference", "alpha", "split", "role", "metric", "mean", "low", "high", "n"]


def to_frame(scores: Sequence[Scores]) -> pd.DataFrame:
    """Scores as rows (split, alpha, id, label, prediction ...), one per image and alpha."""
    import pandas as pd

    names = [field.name for field in fields(Scores)][3:]
    parts = [
        pd.DataFrame(
            {"split": one.split, "alpha": one.alpha, "id": one.ids}
            | {name: values for name in names if (values := getattr(one, name)) is not None}
        )
        for one in scores
    ]
    return pd.concat(parts, ignore_index=True)


def from_frame(frame: pd.DataFrame) -> list[Scores]:
    """The Scores that `to_frame` wrote, in its order."""
    names = [name for name in frame.columns if name not in ("split", "alpha", "id")]
    return [
        Scores(split, alpha, tuple(part["id"]), **{name: part[name].to_numpy() for name in names})
        for (split, alpha), part in frame.groupby(["split", "alpha"], sort=False, observed=True)
    ]


def statistics(scores: Scores) -> dict[str, Statistic]:
    """Every metric of one model on one split: accuracy, class_accuracy, macro_f1, nll, ece, and the means of what else
    its scores hold."""
    right = scores.prediction == scores.label
    return {
        "accuracy": metrics.mean(right),
        "class_accuracy": metrics.class_mean(scores.prediction, scores.label),
        "macro_f1": metrics.f1(scores.prediction, scores.label),
        "nll": metrics.mean(scores.nll),
        "ece": calibration_error(scores.confidence, right),
    } | {
        name: metrics.mean(values)
        for name in MOVED
        if (values := getattr(scores, name)) is not None
    }


def measure(scores: Scores) -> dict[str, float]:
    """The values of `statistics`."""
    return {name: statistic.value for name, statistic in statistics(scores).items()}


def table(scores: Sequence[Scores], reference: str, trained: Sequence[str] = ()) -> pd.DataFrame:
    """Tidy rows: reference, alpha, split, role, metric, mean, low, high, n. [low, high]: 95 % bootstrap over images.

    role: reference, shift, val (of the reference), or trained for another domain that was trained on.
    relative_accuracy, of the shifts, is against the reference test split at the same alpha.
    """
    import pandas as pd

    found: dict[str, dict] = {}
    for split in dict.fromkeys(one.split for one in scores):
        every = {
            (one.alpha, name): statistic
            for one in scores
            if one.split == split
            for name, statistic in statistics(one).items()
        }
        resampled = resampled_(every)
        found[split] = {key: (statistic.value, resampled[key]) for key, statistic in every.items()}
    sizes = {one.split: len(one.ids) for one in scores}
    rows = []
    for split, values in found.items():
        domain, part = split.split("/")
        other = "trained" if domain in trained else "shift"
        role = "val" if part == "val" else "reference" if domain == reference else other
        base = found.get(f"{reference}/test", {}) if role == "shift" else {}
        for alpha in dict.fromkeys(alpha for alpha, _ in values):
            if (whole := base.get((alpha, "accuracy"))) and whole[0]:
                value, draws = values[alpha, "accuracy"]
                some = whole[1] > 0  # a resample of a few images may have no right answer
                values[alpha, "relative_accuracy"] = (
                    value / whole[0],
                    draws[some] / whole[1][some],
                )
        for (alpha, metric), (value, draws) in values.items():
            rows.append(
                (reference, alpha, split, role, metric, value, *interval(draws), sizes[split])
            )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.sort_values("alpha", kind="stable", ignore_index=True)


def compare(first: Scores, second: Scores) -> Comparison:
    """McNemar's test of two models on one split. Raises ConfigError where they saw other images."""
    if first.split != second.split or first.ids != second.ids:
        raise ConfigError(
            f"{first.split} ({len(first.ids)} images) and {second.split} ({len(second.ids)}) are not the same images"
        )
    return mcnemar(first.prediction == first.label, second.prediction == second.label)
