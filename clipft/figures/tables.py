"""Tables as figures, so that they lie beside the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from .given import check_fields
from .marks import ON_PAGE
from .style import FONT, layout

if TYPE_CHECKING:
    import pandas as pd

TITLE = 34  # height in pixels of a table's title, and of its head
LINE = 27  # and of a row
NARROW = " .,:;'|!()[]-ijltfr"
BROAD = "mwMW%"
AROUND = 2.1
SIZE = 12  # of letters, in pixels
NARROW_PAGE = 680  # pixels
LEFT = {"align": "left"}
EDGE = layout(l=10, r=10, t=10, b=10)


def table_figure(frame: pd.DataFrame) -> go.Figure:
    """A data frame of texts as a figure, to lie beside others; its attrs["mixture"] stands below.

    Arguments:
        frame: its columns are the head.

    Returns:
        The figure.

    Example:
        >>> figure = clipft.table_figure(clipft.results_table(clipft.results("runs")))
    """
    check_fields(frame, ("columns",), "a table, e.g. of clipft.results_table")
    head = {"values": [f"<b>{name}</b>" for name in frame], **LEFT}
    figure = go.Figure(go.Table(header=head, **_columns(frame, height=26)))
    figure.update_layout(**EDGE, height=80 + LINE * len(frame))
    if note := frame.attrs.get("mixture"):
        place = {"x": 0, "y": 0, "xanchor": "left", "yanchor": "bottom", **ON_PAGE}
        figure.add_annotation(text=note, showarrow=False, **place)
    return figure


def tables_figure(frames: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Tables of texts one below the other, each under its own title."""
    height = sum(_height(frame) for frame in frames.values())

    figure = go.Figure()
    top = 0
    for title, frame in frames.items():
        place = {"x": 0, "y": 1 - top / height, "xanchor": "left", "yanchor": "top", **ON_PAGE}
        figure.add_annotation(text=f"<b>{title}</b>", showarrow=False, font={"size": 14}, **place)
        bottom = top + _height(frame)
        head = {"values": list(frame.columns), "height": LINE, **LEFT}
        domain = {"x": [0, 1], "y": [1 - bottom / height, 1 - (top + 26) / height]}
        figure.add_table(header=head, **_columns(frame, height=LINE), domain=domain)
        top = bottom
    widest = max(sum(_widths(frame)) for frame in frames.values())
    small = FONT | {"size": SIZE if SIZE * widest <= NARROW_PAGE else SIZE - 2}
    return figure.update_layout(**EDGE | {"font": small}, height=height + 20)


def _height(frame: pd.DataFrame) -> int:
    return 2 * TITLE + LINE * len(frame)


def _widths(frame: pd.DataFrame) -> list[float]:
    """Of each column, in heights of its letters: of its longest text and the room around it."""
    columns = frame.to_dict("list")
    return [
        AROUND + max(map(_width, [str(name), *map(str, texts)])) for name, texts in columns.items()
    ]


def _width(text: str) -> float:
    """About how wide a text is in heights of its letters, in Helvetica."""
    width = 0.0
    for letter in text:
        if letter in NARROW:
            width += 0.33
        elif letter in BROAD:
            width += 0.85
        else:
            width += 0.7 if letter.isupper() else 0.57
    return width


def _columns(frame: pd.DataFrame, height: int) -> dict[str, Any]:
    """What a table's trace takes from a frame: cells, and columns as wide as their longest text."""
    columns = list(frame.to_dict("series").values())
    widths = _widths(frame)
    return {"cells": {"values": columns, "height": height, **LEFT}, "columnwidth": widths}
