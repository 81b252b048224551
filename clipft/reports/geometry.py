"""The geometry of the two towers of finished runs, before and after tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..config import TUNED, ZERO_SHOT, Reading, check_alpha
from ..data.splits import Split
from ..diagnostics.geometry import alignment, modality_gap, sigma_min, uniformity
from ..evaluation.bench import Bench, Benches
from ..evaluation.mixtures import Mixtures
from ..progress import progress_bar
from ..runs.run import Run, open_runs
from .energy_gap import Given

if TYPE_CHECKING:
    import pandas as pd


def geometry_table(
    runs: Given | Sequence[Given],
    alphas: Sequence[float] = (ZERO_SHOT, TUNED),
    reading: Reading | None = None,
) -> pd.DataFrame:
    """Modality gap, alignment, uniformity and sigma_min of every reported split, see `geometry`.

    f are unit embeddings of the split's images; g are the unit columns of the head at this alpha:
    at 0 embeddings of class names, and after tuning only where a text tower makes the head or it
    was frozen; a head that was trained by itself is a classifier, no text.

    Arguments:
        runs: one, several, or a folder of runs.
        alphas: of the models; alpha 0 is added, for the change.
        reading: how images are read, where embeddings are not in the cache.

    Returns:
        A row per run, alpha and split: modality_gap, modality_gap_change (against alpha 0),
        alignment, uniformity, sigma_min, n; without units.

    Raises:
        RunError: where a run is an ensemble, or its model or data set have changed since.
        ConfigError: for an alpha beyond 0 ... 1.

    Example:
        >>> table = clipft.geometry_table(clipft.open_runs("runs")[0])
        >>> len(table)  # two alphas, four splits
        8
    """
    import pandas as pd

    wanted = sorted({ZERO_SHOT, *(check_alpha(alpha) for alpha in alphas)})
    benches = Benches(reading)
    rows = []
    opened = open_runs(runs)
    for run in progress_bar(opened, "geometry", "run", show=len(opened) > 1):
        rows += _rows_of(run, benches.of(run), wanted)
    return pd.DataFrame(rows)


def _rows_of(run: Run, bench: Bench, alphas: Sequence[float]) -> list[dict[str, Any]]:
    mixtures = bench.mixtures(run)
    about = about_run(run)
    rows = []
    gap_before: dict[str, float] = {}
    for alpha in alphas:
        classes = None
        for split in bench.reported_splits(run.config):
            images, labels, classes = _embedded(mixtures, split, alpha, classes)
            gap = modality_gap(images, classes)
            gap_before.setdefault(split.name, gap)
            where = {"alpha": alpha, "split": split.name}
            numbers = {"modality_gap": gap, "modality_gap_change": gap - gap_before[split.name]}
            numbers |= {"alignment": alignment(images, classes, labels)}
            numbers |= {"uniformity": uniformity(images), "sigma_min": sigma_min(images)}
            rows.append(about | where | numbers | {"n": len(images)})
    return rows


def _embedded(
    mixtures: Mixtures, split: Split, alpha: float, classes: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Images (N, D), labels (N,) and the head's columns (C, D), which all splits share."""
    features = mixtures.features(split, alpha)
    if classes is None:
        with torch.inference_mode():
            # The student is at this alpha now.
            classes = mixtures.student.linear()[0].T.float().cpu()
    return torch.from_numpy(features.embeddings), torch.from_numpy(features.label), classes


def about_run(run: Run) -> dict[str, Any]:
    """The columns that name a run."""
    config = run.config
    about = {"run": run.id, "method": str(run.name), "lr": config.lr}
    return about | {"steps": config.steps, "seed": config.seed}
