"""Diagnostics of finished runs as tables: what is asked of records stands in `metrics` and `diagnostics`.

Every function takes a Run or its folder. What needs embeddings takes them from the cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..diagnostics.energy_gap import EnergyGap, measure_gap
from ..models.load import pick_device
from ..runs.run import Run

if TYPE_CHECKING:
    import pandas as pd


Given = Run | Path | str


def opened(run: Given, device: str = "auto") -> Run:
    """The run itself, or the one in a folder."""
    return run if isinstance(run, Run) else Run.open(run, pick_device(device))


def gap_of(run: Given, split: str, alpha: float = 1.0) -> EnergyGap:
    """The energy gap of one split's images over the run's fixed random texts, with its errors and each image's."""
    run = opened(run)
    after, before = (torch.from_numpy(run.features(split, a).embeddings) for a in (alpha, 0.0))
    return measure_gap(after, before, run.gap_texts.cpu(), run.clip.scale)


def gap_table(run: Given, alpha: float = 1.0) -> pd.DataFrame:
    """Energy gap of every reported split: mean, its standard errors over images and over texts, n.

    In squared logits, with the logit scale s inside; cosine_gap = gap / s^2 is without it.
    """
    import pandas as pd

    run, rows = opened(run), []
    for split in run.reported_splits():
        gap = gap_of(run, split.name, alpha)
        rows.append(
            (
                split.name,
                gap.mean,
                gap.image_error,
                gap.text_error,
                gap.mean / gap.scale**2,
                len(gap.per_image),
            )
        )
    return pd.DataFrame(
        rows, columns=["split", "energy_gap", "image_error", "text_error", "cosine_gap", "n"]
    )
