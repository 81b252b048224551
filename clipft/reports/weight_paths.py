"""TODO: docstring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config import ALPHAS
from ..diagnostics.weight_path import layer_distances
from ..training.combine import combine
from .energy_gap import Given, opened

if TYPE_CHECKING:
    import pandas as pd


def path_table(run: Given, alphas: Sequence[float] = ALPHAS) -> pd.DataFrame:
    """WiSE against the output-space ensemble at every alpha and split: accuracies, NLL, distance of logits, agreement.

    The ensemble is a run of its own beside this one, made once (`combine output_ensemble`). Equal where logits are
    linear in the weights.
    """
    run = opened(run)
    mixed, summed = run.score(alphas), combine("output_ensemble", [run]).score(alphas)
    keys = ["alpha", "split", "role"]
    mixed, summed = (one[one.alpha.isin(alphas)] for one in (mixed, summed))
    tables = [t.pivot_table(index=keys, columns="metric", values="mean") for t in (mixed, summed)]
    wise = tables[0][["accuracy", "nll"]].add_prefix("wise_")
    ensemble = tables[1][["accuracy", "nll"]].add_prefix("ensemble_")
    return wise.join(ensemble).join(tables[1][["wise_distance", "wise_agreement"]]).reset_index()


def layer_table(run: Given) -> pd.DataFrame:
    """How far tuning moved each layer: ||theta - theta0||_2, and relative to ||theta0||_2."""
    import pandas as pd

    run = opened(run)
    rows = [(name, *moved) for name, moved in layer_distances(run.anchor, run.tuned).items()]
    return pd.DataFrame(rows, columns=["layer", "distance", "relative"])
