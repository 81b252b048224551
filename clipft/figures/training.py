"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import COLOURS, LAYOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def training_curves(metrics: Sequence[Mapping]) -> go.Figure:
    """Loss (each term and the sum) and validation accuracy of one run over its steps."""
    figure = make_subplots(
        1, 2, subplot_titles=["loss", "reference validation accuracy (%)"], horizontal_spacing=0.1
    )
    losses = [row for row in metrics if "loss" in row]
    terms = [name for name in (losses[0] if losses else {}) if name not in ("step", "lr")]
    for colour, term in zip(COLOURS, terms, strict=False):
        figure.add_scatter(
            x=[row["step"] for row in losses],
            y=[row[term] for row in losses],
            name=term.replace("_", " "),
            line={"color": colour},
            row=1,
            col=1,
        )
    val = [row for row in metrics if "val_accuracy" in row]
    figure.add_scatter(
        x=[row["step"] for row in val],
        y=[100 * row["val_accuracy"] for row in val],
        mode="lines+markers",
        line={"color": COLOURS[2]},
        name="validation",
        row=1,
        col=2,
    )
    figure.update_xaxes(title_text="step")
    figure.update_layout(**LAYOUT, height=380, legend={"orientation": "h", "y": -0.25})
    return figure
