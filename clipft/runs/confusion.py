"""Which class was taken for which, before and after tuning: counted in what was scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..config import TUNED, ZERO_SHOT, check_alpha
from ..errors import ConfigError, unknown
from .run import Run
from .scores import Scores
from .sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Given = Run | Sweep | Path | str
COLUMNS = ("class", "taken for", "zero_shot", "here", "change", "n")


@dataclass(frozen=True)
class _Predicted:
    """Images of one or more splits: label, prediction before and after, (N,) each."""

    label: np.ndarray
    before: np.ndarray
    after: np.ndarray
    alpha: float
    names: Sequence[str]
    title: str

    def name_of(self, label: int) -> str:
        """A class's name, or its number where names are not at hand."""
        return self.names[label] if label < len(self.names) else f"class {label}"


def confusion_table(
    run_or_sweep: Given, split: str = "", alpha: float = TUNED, most: int | None = None
) -> pd.DataFrame:
    """Every pair of classes of which one was taken for the other, before and after tuning.

    Arguments:
        run_or_sweep: a Run, its folder, the first letters of its id; or its `Sweep`.
        split: of those that were scored, e.g. sketch/test; "": all test splits together.
        alpha: of the model after tuning; of a sweep the nearest scored one.
        most: so many rows at most; None: all.

    Returns:
        A row per pair that either model confused: class, taken for, zero_shot (images that the
        zero-shot model took so), here (at alpha), change (here less zero_shot), n (images of the
        class). The most frequent here go first, then those that grew most.

    Raises:
        ConfigError: for a split that is not there, an alpha beyond 0 ... 1, or fewer rows than one.
        RunError: where this alpha was not scored.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> table = clipft.confusion_table(run, "sketch/test", most=3)
        >>> table.columns.tolist()
        ['class', 'taken for', 'zero_shot', 'here', 'change', 'n']
    """
    import pandas as pd

    if most is not None and most < 1:
        raise ConfigError(f"most is {most}, expected 1 or more, or None: all")
    check_alpha(alpha)
    if isinstance(run_or_sweep, Sweep):
        seen = _of_sweep(run_or_sweep, split, alpha)
    else:
        seen = _of_run(Run.open(run_or_sweep), split, alpha)

    classes = 1 + max(array.max(initial=0) for array in (seen.label, seen.before, seen.after))
    before = _wrong_pairs(seen.label, seen.before, classes)
    after = _wrong_pairs(seen.label, seen.after, classes)
    pairs = np.union1d(before, after)
    zero_shot = _counted(before, pairs)
    here = _counted(after, pairs)
    in_order = np.lexsort((zero_shot - here, -here))[:most]

    label, taken_for = np.divmod(pairs[in_order], classes)
    count = np.bincount(seen.label, minlength=classes)
    columns = {
        "class": [seen.name_of(one) for one in label],
        "taken for": [seen.name_of(one) for one in taken_for],
        "zero_shot": zero_shot[in_order],
        "here": here[in_order],
        "change": (here - zero_shot)[in_order],
        "n": count[label],
    }
    table = pd.DataFrame(columns, columns=list(COLUMNS))
    table.attrs = {"run": seen.title, "split": split, "alpha": seen.alpha, "pairs": len(pairs)}
    return table


def _wrong_pairs(label: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """A number for label and prediction of each image where they differ."""
    wrong = label != prediction
    return label[wrong].astype(np.int64) * classes + prediction[wrong]


def _counted(numbers: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """How often each of the sorted pairs is among the numbers."""
    return np.bincount(np.searchsorted(pairs, numbers), minlength=len(pairs))


def _of_sweep(sweep: Sweep, split: str, alpha: float) -> _Predicted:
    """The images of a sweep."""
    known = dict.fromkeys(sweep.split.tolist())
    if split and split not in known:
        raise unknown("scored split", split, known)
    rows = sweep.split == split if split else sweep.split_number >= 0
    place = sweep.nearest(alpha)
    return _Predicted(
        label=sweep.label[rows],
        before=sweep.prediction[0, rows],
        after=sweep.prediction[place, rows],
        alpha=float(sweep.alphas[place]),
        names=sweep.classes,
        title=sweep.title,
    )


def _of_run(run: Run, split: str, alpha: float) -> _Predicted:
    """The images of a run: of its scores at two alphas no others are read."""
    before = run.scores(ZERO_SHOT)
    after = run.scores(alpha)
    known = [name for name in after if name in before]
    if split and split not in known:
        raise unknown("scored split", split, known)
    chosen = [split] if split else [name for name in known if after[name].part == "test"]
    if not chosen:
        raise ConfigError(f"{run.folder} has no scored test split; wanted: split={known[0]!r}")
    aligned = [same_images(before[name], after[name]) for name in chosen]
    label, first, second = (np.concatenate(arrays) for arrays in zip(*aligned, strict=True))
    return _Predicted(label, first, second, alpha, names=run.manifest.names, title=run.title)


def same_images(before: Scores, after: Scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label and both predictions of the images that both alphas have."""
    if before.ids == after.ids:
        return after.label, before.prediction, after.prediction
    # Unreadable images differ from scoring to scoring.
    _, first, second = np.intersect1d(before.ids, after.ids, return_indices=True)
    return after.label[second], before.prediction[first], after.prediction[second]
