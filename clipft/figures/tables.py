"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from .panels import HEAD, LINE
from .style import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


def table(frame: pd.DataFrame) -> go.Figure:
    """A data frame as a figure, so that it lies beside the others."""
    head = {
        "values": [f"<b>{name}</b>" for name in frame.columns],
        "align": "left",
        "fill_color": "#eeeeee",
    }
    cells = {
        "values": [frame[name] for name in frame.columns],
        "align": "left",
        "height": 26,
        "fill_color": "white",
    }
    figure = go.Figure(
        go.Table(
            header=head, cells=cells, columnwidth=[max(map(len, [n, *frame[n]])) for n in frame]
        )
    )
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 10, "r": 10, "t": 10, "b": 10}}, height=80 + 27 * len(frame)
    )
    return figure


def blocks(frames: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Tables one below the other, each under its own title."""
    figure, top = go.Figure(), 0
    height = sum(2 * HEAD + LINE * len(frame) for frame in frames.values())
    for title, frame in frames.items():
        bottom = top + 2 * HEAD + LINE * len(frame)
        figure.add_annotation(
            text=f"<b>{title}</b>",
            x=0,
            y=1 - top / height,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="top",
            showarrow=False,
            font={"size": 14},
        )
        figure.add_table(
            header={
                "values": list(frame.columns),
                "align": "left",
                "fill_color": "#eeeeee",
                "height": LINE,
            },
            cells={
                "values": [frame[name] for name in frame],
                "align": "left",
                "height": LINE,
                "fill_color": "white",
            },
            columnwidth=[max(map(len, [name, *frame[name]])) for name in frame],
            domain={"x": [0, 1], "y": [1 - bottom / height, 1 - (top + 26) / height]},
        )
        top = bottom
    figure.update_layout(
        **LAYOUT
        | {"margin": {"l": 10, "r": 10, "t": 10, "b": 10}, "font": LAYOUT["font"] | {"size": 12}},
        height=height + 20,
    )
    return figure
