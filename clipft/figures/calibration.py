"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import COLOURS, GREY, LAYOUT, SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..metrics.calibration import Reliability


def reliability(diagrams: Mapping[str, Reliability], title: str = "") -> go.Figure:
    """Accuracy against confidence in equal-width bins, a line per model; below, how many images each bin has."""
    figure = make_subplots(2, 1, row_heights=[0.75, 0.25], shared_xaxes=True, vertical_spacing=0.04)
    for number, (name, one) in enumerate(diagrams.items()):
        colour, full = COLOURS[number % 8], one.count > 0
        middle = (one.low + one.high) / 2
        figure.add_scatter(
            x=one.confidence[full],
            y=one.accuracy[full],
            mode="lines+markers",
            name=name,
            legendgroup=name,
            line={"color": colour},
            marker={"symbol": SYMBOLS[number % 8], "size": 8},
            customdata=one.count[full],
            hovertemplate="confidence %{x:.3f}<br>accuracy %{y:.3f}<br>%{customdata} images<extra></extra>",
            row=1,
            col=1,
        )
        figure.add_bar(
            x=middle,
            y=one.count,
            marker_color=colour,
            name=name,
            legendgroup=name,
            showlegend=False,
            row=2,
            col=1,
        )
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GREY, "dash": "dash"},
        name="calibrated",
        row=1,
        col=1,
    )
    figure.update_yaxes(title_text="accuracy (fraction)", range=[0, 1.02], row=1, col=1)
    figure.update_yaxes(title_text="images", row=2, col=1)
    figure.update_xaxes(
        title_text="confidence of the predicted class (fraction)", range=[0, 1], row=2, col=1
    )
    figure.update_layout(**LAYOUT, height=560, barmode="group", title=title or "Reliability")
    return figure
