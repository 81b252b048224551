"""Accuracy of one run on every split, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from ..config import TUNED, ZERO_SHOT
from ..runs.table import score_rows, scored_by
from .given import check_table
from .marks import BAR_NUMBERS
from .style import GREY, OTHER_COLOURS, domains_of, layout

if TYPE_CHECKING:
    import pandas as pd

TITLES = {ZERO_SHOT: "zero-shot", TUNED: "tuned"}


def accuracy_figure(
    scores: pd.DataFrame, alphas: Sequence[float] = (ZERO_SHOT, 0.5, TUNED)
) -> go.Figure:
    """Accuracy (%) of every split for a few alphas of one run: zero-shot, mixtures, tuned.

    Or what else the data set is scored by.

    Arguments:
        scores: `run.table()`.
        alphas: which to draw, a bar each.

    Returns:
        The figure.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> figure = clipft.accuracy_figure(run.table(), alphas=[0, 0.3, 1])
        >>> [bars.name for bars in figure.data]
        ['zero-shot', 'WiSE, alpha 0.3', 'tuned']
    """
    check_table(scores, ("metric", "role", "alpha", "split", "mean"), "Run.table")
    rows = score_rows(scores[scores.role != "val"])

    figure = go.Figure()
    for colour, alpha in zip((GREY, *OTHER_COLOURS), alphas, strict=False):
        bars = rows[rows.alpha == alpha]
        look = {"name": TITLES.get(alpha, f"WiSE, alpha {alpha:g}"), "marker_color": colour}
        figure.add_bar(x=domains_of(bars.split), y=100 * bars["mean"], **look, **BAR_NUMBERS)
    title = f"{scored_by(scores).title} (%)"
    return figure.update_layout(**layout(), height=400, barmode="group", yaxis_title=title)
