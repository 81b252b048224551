"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import COLOURS, LAYOUT, SYMBOLS, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


def path(table: pd.DataFrame) -> go.Figure:
    """Accuracy and NLL along alpha on every split: WiSE (solid) against the output-space ensemble (dotted)."""
    rows = table[table.role != "val"]
    figure = make_subplots(
        1, 2, subplot_titles=["accuracy (%)", "NLL (nats)"], horizontal_spacing=0.09
    )
    for number, (split, part) in enumerate(rows.groupby("split")):
        part, colour = part.sort_values("alpha"), COLOURS[number % 8]
        for kind, dash in (("wise", "solid"), ("ensemble", "dot")):
            for column, (metric, factor) in enumerate((("accuracy", 100), ("nll", 1)), 1):
                figure.add_scatter(
                    x=part.alpha,
                    y=factor * part[f"{kind}_{metric}"],
                    mode="lines+markers",
                    row=1,
                    col=column,
                    line={"color": colour, "dash": dash},
                    marker={"size": 5, "symbol": SYMBOLS[number % 8]},
                    name=f"{split.split('/')[0]}, {'WiSE' if kind == 'wise' else 'ensemble'}",
                    legendgroup=f"{split} {kind}",
                    showlegend=column == 1,
                )
    figure.update_xaxes(title_text="alpha: 0 zero-shot ... 1 tuned")
    figure.update_layout(**LAYOUT, height=460, title="The linear path, in weights and in logits")
    return figure


def layers(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Relative distance moved by each layer (`layer_table`), a line per method; layers that stayed are not drawn."""
    figure, looks = go.Figure(), style(list(tables))
    for name, (title, colour, symbol, dash) in looks.items():
        rows = (
            tables[name]
            .query("relative > 0")
            .sort_values("layer", key=lambda layer: layer == "head", kind="stable")
        )
        figure.add_scatter(
            x=rows.layer.str.replace("visual.", ""),
            y=100 * rows.relative,
            mode="lines+markers",
            name=title,
            line={"color": colour, "dash": dash},
            marker={"symbol": symbol, "size": 8},
        )
    figure.update_yaxes(title_text="distance moved, % of the layer's norm (log)", type="log")
    margin = {"l": 70, "r": 20, "t": 70, "b": 150}
    figure.update_layout(
        **LAYOUT | {"margin": margin}, height=560, title="How far each layer moved"
    )
    return figure
