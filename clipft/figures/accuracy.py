"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from .style import COLOURS, GREY, LAYOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def split_bars(scores: pd.DataFrame, alphas: Sequence[float] = (0.0, 0.5, 1.0)) -> go.Figure:
    """Accuracy of every split for a few alphas of one run: zero-shot, mixtures, tuned."""
    rows = scores[(scores.metric == "accuracy") & (scores.role != "val")]
    figure = go.Figure()
    for colour, alpha in zip((GREY, *COLOURS), alphas, strict=False):
        part = rows[rows.alpha == alpha]
        name = {0.0: "zero-shot", 1.0: "tuned"}.get(alpha, f"WiSE, alpha {alpha:g}")
        figure.add_bar(
            x=[split.split("/")[0] for split in part.split],
            y=100 * part["mean"],
            name=name,
            marker_color=colour,
            texttemplate="%{y:.0f}",
            textposition="outside",
            cliponaxis=False,
        )
    figure.update_layout(**LAYOUT, height=400, barmode="group", yaxis_title="accuracy (%)")
    return figure
