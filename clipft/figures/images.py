"""Images of a data set, side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from .given import check_named
from .style import layout


def contact_sheet_figure(
    tiles: Mapping[str, Sequence[np.ndarray]], names: Sequence[str], title: str = ""
) -> go.Figure:
    """Thumbnails as a grid: a row per domain, a column per class.

    Arguments:
        tiles: domain -> an image (S, S, 3), uint8, of each class; all of one size.
        names: of the classes.
        title: above the figure.

    Returns:
        The figure.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> names, tiles = clipft.sample_tiles(run.manifest)
        >>> figure = clipft.contact_sheet_figure(tiles, names, title="Every class, every domain")
    """
    check_named(tiles, (list, tuple, np.ndarray), "an image of each class")
    stacked = np.array(list(tiles.values()))  # (R, C, S, S, 3)
    rows, columns, size = stacked.shape[:3]
    grid = stacked.swapaxes(1, 2).reshape(rows * size, columns * size, 3)

    figure = go.Figure(go.Image(z=grid, hoverinfo="skip"))
    across = size * np.arange(columns) + size / 2
    down = size * np.arange(rows) + size / 2
    figure.update_xaxes(tickvals=across.tolist(), ticktext=list(names), side="top", tickangle=-45)
    figure.update_yaxes(tickvals=down.tolist(), ticktext=list(tiles))
    figure.update_layout(xaxis_showgrid=False, yaxis_showgrid=False)
    return figure.update_layout(**layout(l=90, t=110, b=20), title=title, height=140 + 72 * rows)
