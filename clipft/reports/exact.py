"""A finished run at an alpha that nobody scored, on some images: is the line between scored alphas
good enough?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..config import Reading
from ..errors import RunError
from ..evaluation.bench import Bench
from ..runs.run import Run
from ..runs.scores import metric_statistic
from ..runs.sweep import Sweep

if TYPE_CHECKING:
    import pandas as pd


def exact(sweep: Sweep, alpha: float, images: int = 100) -> pd.DataFrame:
    """Score a run at any alpha on some images of each test split, evenly spread: columns split,
    images, exact, line.

    Fractions, of the data set's metric: exact is what the model there has, line what the sweep's
    scored alphas beside it say of the same images. Raises RunError or ConfigError where the run's
    weights or images are not at hand.
    """
    import pandas as pd

    if sweep.folder is None:
        raise RunError("this sweep came without its run's folder; read it: read_sweep(FOLDER)")
    run = Run.open(sweep.folder)
    bench = Bench.of(run, Reading(progress=False))
    samples = []
    for split in bench.reported_splits(run.config):
        if split.name in sweep.splits:
            evenly = np.linspace(0, len(split) - 1, images, dtype=int)
            samples.append(split.take(np.unique(evenly).tolist()))

    rows = []
    for scores in bench.mixtures(run).score(samples, [alpha]):
        of_split = sweep.rows[scores.split]
        same_images = of_split[np.isin(sweep.ids[of_split], scores.ids)]
        values = sweep.measured(scores.split, same_images)
        metric = sweep.metric_of(scores.split)
        told = metric_statistic(metric, scores.prediction, scores.label, scores.group)
        rows.append(
            {
                "split": scores.split,
                "images": len(scores.ids),
                "exact": told.value,
                "line": float(np.interp(alpha, sweep.alphas, values)),
            }
        )
    return pd.DataFrame(rows)
