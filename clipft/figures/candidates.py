"""Candidates of a choice: validation accuracy against agreement with zero-shot under shift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from .marks import hover
from .style import BELOW, GREY, INK, layout, style, titled

if TYPE_CHECKING:
    import pandas as pd


def candidates_figure(rows: pd.DataFrame, place: int, bound: float) -> go.Figure:
    """Every candidate, a line along alpha for each method; the chosen one has a ring.

    rows: method, alpha, val_accuracy, agreement (fractions). place: the index of the chosen one.
    bound: of agreement; on its right the best on val is taken.
    """
    zero_shot = rows[rows.alpha == 0].iloc[:1]
    figure = go.Figure()
    for method, look in style(rows.method.unique()).items():
        path = rows[(rows.method == method) & (rows.alpha > 0)].sort_values("alpha")
        whole = path if zero_shot.empty else _joined(zero_shot, path)
        figure.add_scatter(
            x=100 * whole.agreement,
            y=100 * whole.val_accuracy,
            customdata=whole.alpha,
            mode="lines+markers",
            name=look.title,
            line=look.line,
            marker=look.marker(8),
            hovertemplate=hover(look.title, "alpha %{customdata:g}", "val %{y:.1f} %"),
        )
    square = {"color": GREY, "symbol": "square", "size": 11}
    ring = {"color": INK, "symbol": "circle-open", "size": 22, "line": {"width": 3}}
    marks = (("zero-shot", zero_shot, square), ("chosen", rows.loc[[place]], ring))
    for name, marked, marker in marks:
        if len(marked):
            x = 100 * marked.agreement
            y = 100 * marked.val_accuracy
            figure.add_scatter(x=x, y=y, mode="markers", name=name, marker=marker)
    figure.add_vline(100 * bound, line={"color": GREY, "dash": "dash"})
    figure.update_xaxes(title_text="says what zero-shot says, under shift (%)")
    figure.update_yaxes(title_text="right on val (%)")
    detail = "the best on val of all on the right of the dashed line is taken"
    title = titled("What was there to choose from", detail)
    return figure.update_layout(**layout(t=90), height=520, title=title, legend=BELOW)


def _joined(first: pd.DataFrame, rest: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([first, rest])
