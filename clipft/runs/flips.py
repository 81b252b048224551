"""Who lost: the images that tuning turned from right to wrong, the worst classes, the groups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TUNED, ZERO_SHOT
from ..errors import ConfigError
from ..metrics import accuracy as metrics
from ..metrics.intervals import interval, resampled
from ..progress import progress_bar
from .confusion import same_images
from .run import Run, open_scored
from .scores import Scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

Given = Run | Path | str
ABOUT = ["run", "method", "lr", "steps", "seed", "alpha", "split", "domain"]
FLIPS = [
    *("lost", "lost_low", "lost_high", "gained", "gained_low", "gained_high"),
    *("worst_classes_zero_shot", "worst_classes", "n"),
]
GROUPS = ["group", "n", "zero_shot", "accuracy", "low", "high", "change", "worst"]


def flips_table(runs: Given | Sequence[Given], alpha: float = TUNED) -> pd.DataFrame:
    """How many images tuning turned from right to wrong, and from wrong to right.

    lost is the negative flip rate of Yan et al., arXiv:2011.09161, gained the positive one;
    gained - lost is the change of accuracy.

    Arguments:
        runs: one, several, or a folder of runs.
        alpha: of the models after tuning; before is the zero-shot model.

    Returns:
        A row per run and test split: lost and gained, fractions of its n images, each with _low and
        _high, its 95 % interval; worst_classes_zero_shot and worst_classes, the mean accuracy of
        the worst tenth of the classes of each model.

    Raises:
        RunError: where this alpha, or alpha 0, was not scored.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> clipft.flips_table(run)[["split", "lost", "gained"]].shape
        (3, 3)
    """
    import pandas as pd

    rows = []
    opened = open_scored(runs)
    for run in progress_bar(opened, "flips", "run", show=len(opened) > 4):
        for about, before, after in _tests_of(run, alpha):
            label, first, second = same_images(before, after)
            rows.append(about | _flips(label, first == label, second == label))
    return pd.DataFrame(rows, columns=[*ABOUT, *FLIPS])


def _tests_of(run: Run, alpha: float) -> Iterator[tuple[dict[str, Any], Scores, Scores]]:
    """What names each test split of a run, and its scores before and after tuning."""
    config = run.config
    named = {"run": run.id, "method": str(run.name), "lr": config.lr}
    named |= {"steps": config.steps, "seed": config.seed, "alpha": float(alpha)}
    before = run.scores(ZERO_SHOT)
    for split, after in run.scores(alpha).items():
        if after.part == "test" and split in before:
            yield named | {"split": split, "domain": after.domain}, before[split], after


def _flips(label: np.ndarray, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """The numbers of one split: labels (N,), and whether each model is right (N,)."""
    statistics = {"lost": metrics.mean(before & ~after), "gained": metrics.mean(~before & after)}
    draws = resampled(statistics)
    row: dict[str, float] = {}
    for name, statistic in statistics.items():
        low, high = interval(statistic, draws[name])
        row |= {name: statistic.value, f"{name}_low": low, f"{name}_high": high}
    row["worst_classes_zero_shot"] = worst_tenth(label, before)
    row["worst_classes"] = worst_tenth(label, after)
    return row | {"n": len(label)}


def worst_tenth(label: np.ndarray, correct: np.ndarray) -> float:
    """The mean accuracy of the worst tenth, rounded up, of the classes that have images."""
    count = np.bincount(label)
    hits = np.bincount(label, correct)
    accuracy = np.sort(hits[count > 0] / count[count > 0])
    return float(accuracy[: -(-len(accuracy) // 10)].mean())


def group_table(runs: Given | Sequence[Given], alpha: float = TUNED) -> pd.DataFrame:
    """Accuracy of every group, as of Waterbirds or CelebA: spurious correlations show in the worst.

    Arguments:
        runs: one, several, or a folder of runs.
        alpha: of the models after tuning; before is the zero-shot model.

    Returns:
        A row per run, test split that has groups, and group: n images, zero_shot and accuracy
        (fractions) with the 95 % interval [low, high] of the latter over images, change, and
        whether it is the worst group of this model. Images of no group are left out.

    Raises:
        ConfigError: where no image is in a group.
        RunError: where this alpha, or alpha 0, was not scored.

    Example:
        >>> clipft.group_table("runs")  # its data set has none
        Traceback (most recent call last):
        clipft.errors.ConfigError: ...
    """
    import pandas as pd

    rows = []
    for run in open_scored(runs):
        for about, before, after in _tests_of(run, alpha):
            if after.group is not None and before.group is not None:
                rows += [about | row for row in _groups(before, after)]
    if not rows:
        raise ConfigError(
            "no image is in a group, so there is none to compare; wanted: runs on a manifest with"
            " groups, as waterbirds"
        )
    return pd.DataFrame(rows, columns=[*ABOUT, *GROUPS])


def _groups(before: Scores, after: Scores) -> list[dict[str, Any]]:
    """A row per group of one split."""
    rows = []
    for group in sorted(set(after.group) - {""} if after.group is not None else ()):
        now = after.correct[after.group == group]
        then = before.correct[before.group == group]
        statistic = metrics.mean(now)
        low, high = interval(statistic, resampled({"accuracy": statistic})["accuracy"])
        zero_shot = float(then.mean()) if len(then) else np.nan
        row = {"group": group, "n": len(now), "zero_shot": zero_shot, "low": low, "high": high}
        rows.append(row | {"accuracy": statistic.value, "change": statistic.value - zero_shot})
    worst = min((row["accuracy"] for row in rows), default=0)
    for row in rows:
        row["worst"] = row["accuracy"] == worst
    return rows
