"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from .style import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def contact_sheet(
    tiles: Mapping[str, Sequence[np.ndarray]], names: Sequence[str], title: str = ""
) -> go.Figure:
    """Thumbnails as a grid: a row per domain, a column per class; tiles[domain][i] is uint8 (S, S, 3)."""
    size = next(iter(tiles.values()))[0].shape[0]
    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in tiles.values()], axis=0)
    figure = go.Figure(go.Image(z=grid, hoverinfo="skip"))
    across, down = (
        [size * i + size / 2 for i in range(count)] for count in (len(names), len(tiles))
    )
    figure.update_xaxes(
        tickvals=across, ticktext=list(names), side="top", tickangle=-45, showgrid=False
    )
    figure.update_yaxes(tickvals=down, ticktext=list(tiles), showgrid=False)
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 90, "r": 20, "t": 110, "b": 20}},
        title=title,
        height=140 + 72 * len(tiles),
    )
    return figure
