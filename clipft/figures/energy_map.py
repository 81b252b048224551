"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .distortion import BELOW
from .style import COLOURS, LAYOUT, SYMBOLS

if TYPE_CHECKING:
    from ..diagnostics.energy_map import EnergyMap


def energy_map(found: EnergyMap) -> go.Figure:
    """t-SNE of energy vectors before and after tuning, coloured by split; the legend hides a split in both panels."""
    figure = make_subplots(1, 2, subplot_titles=["zero-shot", "tuned"], horizontal_spacing=0.03)
    splits = np.array(found.split)
    for number, split in enumerate(dict.fromkeys(found.split)):
        rows = splits == split
        hover = [f"{found.ids[row]}<br>class {found.label[row]}" for row in np.flatnonzero(rows)]
        for column, places in ((1, found.before), (2, found.after)):
            figure.add_scatter(
                x=places[rows, 0],
                y=places[rows, 1],
                mode="markers",
                name=split.split("/")[0],
                legendgroup=split,
                showlegend=column == 1,
                customdata=hover,
                hovertemplate="%{customdata}<extra></extra>",
                marker={
                    "color": COLOURS[number % 8],
                    "symbol": SYMBOLS[number % 8],
                    "size": 7,
                    "opacity": 0.75,
                },
                row=1,
                col=column,
            )
    figure.update_xaxes(showticklabels=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, zeroline=False)
    title = {
        "text": f"t-SNE of energy vectors, {len(splits)} images (axes have no unit)",
        "y": 0.96,
    }
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 20, "r": 20, "t": 90, "b": 60}},
        height=520,
        legend=BELOW,
        title=title,
    )
    return figure
