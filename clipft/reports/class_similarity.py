"""Which classes are alike to the zero-shot model, by its head, and whether these lose by tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import TUNED, Reading
from ..diagnostics.class_similarity import nearest_classes
from ..errors import ConfigError
from ..evaluation.bench import Bench
from ..runs.reading import class_table
from .energy_gap import Given

if TYPE_CHECKING:
    import pandas as pd


def class_similarity(run: Given, most: int = 5, reading: Reading | None = None) -> pd.DataFrame:
    """The classes that are most alike to the zero-shot model, from their names alone.

    cos(c, k) = <w_c, w_k> / |w_c| |w_k| of the columns of the zero-shot head: w_c is the mean
    embedding of the name of class c in several sentences. What is confused, and not alike by name,
    is alike in its images (`confusion_table`). Source of the head: CLIP, arXiv:2103.00020.

    Arguments:
        run: a run, or its folder.
        most: so many classes beside each.
        reading: on which device names are embedded, where they are not in the cache.

    Returns:
        A row per class and other class, the nearest first: class, similar, cosine.

    Raises:
        ConfigError: for fewer than one, or a model without a text tower.
        RunError: where the run is not finished, or its model has changed since.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> table = clipft.class_similarity(run, most=2)
        >>> table.columns.tolist()
        ['class', 'similar', 'cosine']
        >>> table["class"].tolist()[:3]
        ['apple', 'apple', 'bee']
    """
    import pandas as pd

    if most < 1:
        raise ConfigError(f"most is {most}, expected 1 or more")
    bench = Bench.of(run, reading)
    names = bench.manifest.names
    nearest, cosines = nearest_classes(bench.zero_shot, most)
    rows = []
    for label, (others, near) in enumerate(zip(nearest.tolist(), cosines.tolist(), strict=True)):
        for other, cosine in zip(others, near, strict=True):
            rows.append({"class": names[label], "similar": names[other], "cosine": cosine})
    return pd.DataFrame(rows, columns=["class", "similar", "cosine"])


def class_losses(
    run: Given, split: str, alpha: float = TUNED, reading: Reading | None = None
) -> pd.DataFrame:
    """Who lost: every class's change of accuracy beside how alike another class is by its name.

    Arguments:
        run: a run, or its folder.
        split: of those that were scored, e.g. sketch/test.
        alpha: of the model after tuning.
        reading: on which device names are embedded, where they are not in the cache.

    Returns:
        A row per class that has images: the columns of `class_table`; similar, the class that is
        most alike, and its cosine, max_k cos(c, k) of `class_similarity`; worst, whether it is one
        of the worst tenth (rounded up) after tuning.

    Raises:
        ConfigError: for a split that is not there, or a model without a text tower.
        RunError: where this alpha was not scored, or the model has changed since.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> table = clipft.class_losses(run, "sketch/test")
        >>> int(table.worst.sum())
        1
    """
    classes = class_table(run, split, alpha)
    alike = class_similarity(run, most=1, reading=reading)
    table = classes[classes.n > 0].merge(alike, on="class", how="left")
    worst = table.accuracy.rank(method="first") <= -(-len(table) // 10)
    table = table.assign(worst=worst)
    table.attrs = {"split": split, "alpha": alpha}
    return table
