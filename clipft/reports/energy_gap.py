"""The energy gap of finished runs, with its errors. Embeddings are taken from the cache where they
are there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..config import TUNED, ZERO_SHOT, Reading
from ..data.splits import Split
from ..diagnostics.energy_gap import EnergyGap, measure_gap
from ..evaluation.bench import Bench
from ..evaluation.mixtures import Mixtures
from ..runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

Given = Run | Path | str


def gap_of(
    run: Given, split: str, alpha: float = TUNED, reading: Reading | None = None
) -> EnergyGap:
    """The gap of one split's images over the run's random texts, its errors and each image's."""
    run = Run.open(run)
    bench = Bench.of(run, reading)
    return _gap(bench, bench.mixtures(run), bench.manifest.split(split), alpha)


def gap_table(run: Given, alpha: float = TUNED, reading: Reading | None = None) -> pd.DataFrame:
    """Energy gap of every reported split, with its errors.

    Arguments:
        run: a run, or its folder.
        alpha: of the model that is compared with zero-shot.
        reading: how images are read, where embeddings are not in the cache.

    Returns:
        A row per split: energy_gap, its standard errors over images and over texts, n; in squared
        logits, with the logit scale s inside. cosine_gap = gap / s^2 is without it; attrs["scale"]
        is s.

    Raises:
        RunError: where the run is not finished, or its model or data set have changed since.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> clipft.gap_table(run).columns.tolist()
        ['split', 'energy_gap', 'image_error', 'text_error', 'cosine_gap', 'n']
    """
    import pandas as pd

    run = Run.open(run)
    bench = Bench.of(run, reading)
    mixtures = bench.mixtures(run)
    rows = []
    for split in bench.reported_splits(run.config):
        gap = _gap(bench, mixtures, split, alpha)
        rows.append(
            {
                "split": split.name,
                "energy_gap": gap.mean,
                "image_error": gap.image_error,
                "text_error": gap.text_error,
                "cosine_gap": gap.mean / gap.scale**2,
                "n": len(gap.per_image),
            }
        )
    table = pd.DataFrame(rows)
    table.attrs["scale"] = bench.clip.scale
    return table


def _gap(bench: Bench, mixtures: Mixtures, split: Split, alpha: float) -> EnergyGap:
    after = torch.from_numpy(mixtures.features(split, alpha).embeddings)
    before = torch.from_numpy(mixtures.features(split, ZERO_SHOT).embeddings)
    return measure_gap(after, before, bench.random_texts.cpu(), bench.clip.scale)
