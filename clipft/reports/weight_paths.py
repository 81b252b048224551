"""The path of finished runs through weight space: how far each layer moved, and weights mixed
against logits mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config import ALPHAS, Reading
from ..diagnostics.weight_path import layer_distances
from ..evaluation.bench import Bench
from ..evaluation.score import score
from ..runs.reading import mixtures_compared
from ..runs.run import Run
from ..training.combine import combine
from .energy_gap import Given

if TYPE_CHECKING:
    import pandas as pd


def path_table(
    run: Given, alphas: Sequence[float] = ALPHAS, reading: Reading | None = None
) -> pd.DataFrame:
    """WiSE against the output-space ensemble: weights mixed, and logits mixed.

    Equal where logits are linear in the weights. The ensemble is a run of its own beside this one,
    made once (`combine output_ensemble`).

    Arguments:
        run: a run, or its folder.
        alphas: where to compare them; what was not scored there is.
        reading: how images are read.

    Returns:
        A row per alpha and split: accuracy and NLL of both, wise_distance (of logits) and
        wise_agreement (fraction of equal predictions).

    Raises:
        RunError: where the run is not finished, or its model or data set have changed since.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> table = clipft.path_table(run, alphas=[0, 0.5, 1])
        >>> sorted(table.alpha.unique().tolist())
        [0.0, 0.5, 1.0]
    """
    ensemble = combine("output_ensemble", [Run.open(run)], reading=reading)
    score([run, ensemble], alphas, reading=reading)
    of_weights = Run.open(run).table()
    of_logits = ensemble.table()
    return mixtures_compared(
        of_weights[of_weights.alpha.isin(alphas)], of_logits[of_logits.alpha.isin(alphas)]
    )


def layer_table(run: Given, reading: Reading | None = None) -> pd.DataFrame:
    """How far tuning moved each layer: ||theta - theta0||_2, and relative to ||theta0||_2.

    Arguments:
        run: a run, or its folder.
        reading: on which device.

    Returns:
        A row per layer: layer, distance, relative.

    Raises:
        RunError: where the run is not finished, or its model or data set have changed since.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> clipft.layer_table(run).columns.tolist()
        ['layer', 'distance', 'relative']
    """
    import pandas as pd

    run = Run.open(run)
    mixtures = Bench.of(run, reading).mixtures(run)
    rows = []
    for layer, moved in layer_distances(mixtures.start, mixtures.tuned).items():
        distance, relative = moved
        rows.append({"layer": layer, "distance": distance, "relative": relative})
    return pd.DataFrame(rows)
