"""Are shifted images told from those of the reference by what a run says of them? From its scores
alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.splits import SplitName
from ..errors import RunError, unknown
from ..metrics.detection import detections
from ..progress import progress_bar
from .run import Run, open_scored
from .scores import Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Given = Run | Path | str
# By name the column of images.parquet that is high on images of the reference. The energy of the
# paper is minus logsumexp at temperature 1.
SCORES = {"max_softmax": "confidence", "energy": "logsumexp"}
COLUMNS = [
    *("run", "method", "lr", "steps", "seed", "alpha", "split", "domain", "score"),
    *("auroc", "auroc_low", "auroc_high", "fpr", "fpr_low", "fpr_high", "inside", "outside"),
]


def detection_table(
    runs: Given | Sequence[Given], alphas: Sequence[float] | None = None, unseen: Sequence[str] = ()
) -> pd.DataFrame:
    """Out-of-distribution detection: how well a run's scores tell a shift from its reference.

    Inside are the reference's test images, outside those of the shift's test. Two scores, both high
    inside: max_softmax, the largest probability (arXiv:1610.02136), which at the zero-shot model is
    MCM with its own temperature (arXiv:2211.13445); and energy, log sum_c exp(z_c) in logits, minus
    the energy of arXiv:2010.03759 at temperature 1. Runs that an older clipft scored lack the
    latter.

    Arguments:
        runs: one, several, or a folder of runs.
        alphas: of the models; None: every scored one.
        unseen: names of classes that were kept out of training; with them outside are the images of
            these classes, of every test split, and inside the reference's others (generalised
            zero-shot).

    Returns:
        A row per run, alpha, split outside and score: auroc, and fpr (false positives at 95 % true
        positives), fractions, each with _low and _high, its 95 % interval over images; inside and
        outside, how many images.

    Raises:
        RunError: where a run has no scored test split of its reference, or an alpha was not scored.
        ConfigError: for an unknown class.

    Example:
        >>> table = clipft.detection_table("runs", alphas=[0, 1])
        >>> len(table)  # two runs, two alphas, two shifts, two scores
        16
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    opened = open_scored(runs)
    for run in progress_bar(opened, "detection", "run", show=len(opened) > 4):
        rows += _rows_of(run, alphas, unseen)
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows_of(
    run: Run, alphas: Sequence[float] | None, unseen: Sequence[str]
) -> list[dict[str, Any]]:
    if alphas is None:
        alphas = sorted(run.table()["alpha"].unique().tolist())
    held_out = _labels(run, unseen)
    pairs: dict[tuple[str, int, int], dict[tuple[float, str], Any]] = {}
    for alpha in alphas:
        for split, score, inside, outside in _pairs_of(run, run.scores(alpha), held_out):
            # Unreadable images differ from scoring to scoring: what is not of the same images is
            # resampled by itself.
            same = pairs.setdefault((split, len(inside), len(outside)), {})
            same[float(alpha), score] = (inside, outside)

    config = run.config
    about = {"run": run.id, "method": str(run.name), "lr": config.lr}
    about |= {"steps": config.steps, "seed": config.seed}
    rows = []
    for (split, inside, outside), scores in pairs.items():
        sizes = {"inside": inside, "outside": outside}
        for (alpha, score), detection in detections(scores).items():
            where = {"alpha": alpha, "split": split, "domain": SplitName.parse(split).domain}
            rows.append(about | where | {"score": score} | vars(detection) | sizes)
    return rows


def _labels(run: Run, unseen: Sequence[str]) -> list[int]:
    names = run.manifest.names
    for name in unseen:
        if name not in names:
            raise unknown(f"class of {run.manifest.name}", name, names)
    return [names.index(name) for name in unseen]


def _pairs_of(run: Run, scores: dict[str, Scores], held_out: list[int]) -> list[Any]:
    """Split, score, its values inside and outside, of one model."""
    reference = scores.get(f"{run.reference}/test")
    if reference is None:
        wanted = f"wanted: {run.reference}/test, the images inside"
        raise RunError(f"{run.folder} is scored on {', '.join(scores)}; {wanted}")
    pairs = []
    for split, of_split in scores.items():
        if of_split.part != "test" or (of_split is reference and not held_out):
            continue
        is_inside = ~np.isin(reference.label, held_out)
        is_outside = np.isin(of_split.label, held_out) if held_out else np.ones(1, bool)
        if not is_outside.any():
            continue  # a shift need not have all classes
        for score, column in SCORES.items():
            inside, outside = getattr(reference, column), getattr(of_split, column)
            if inside is None or outside is None:
                continue
            where = np.broadcast_to(is_outside, outside.shape)
            pairs.append((split, score, inside[is_inside], outside[where]))
    return pairs
