"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .energy_gap import opened

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.sweep import Sweep


def exact(sweep: Sweep, alpha: float, images: int = 100) -> pd.DataFrame:
    """Score a run at any alpha on some images of each test split, evenly spread: columns split, images, exact, line.

    Fractions: exact is the accuracy there, line what the sweep's scored alphas beside it say of the same images. Raises
    RunError or ConfigError where the run's weights or images are not at hand.
    """
    import pandas as pd

    run, rows = opened(sweep.folder), []
    splits = [split for split in run.reported_splits() if split.name in sweep.splits]
    parts = [
        split.take(np.unique(np.linspace(0, len(split) - 1, images, dtype=int)).tolist())
        for split in splits
    ]
    right = sweep.prediction == sweep.label
    for one in run.sweep(parts, [alpha], progress=False):
        of = sweep.rows[one.split]
        there = of[np.isin(sweep.ids[of], one.ids)]
        line = np.interp(alpha, sweep.alphas, right[:, there].mean(1))
        rows.append(
            (one.split, len(one.ids), float((one.prediction == one.label).mean()), float(line))
        )
    return pd.DataFrame(rows, columns=["split", "images", "exact", "line"])
