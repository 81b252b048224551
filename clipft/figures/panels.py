"""What a paper's page needs: figures side by side, lines of published and own points, tables one below the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import COLOURS, DASHES, GREY, LAYOUT, SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

LEGEND, HEAD, LINE = 24, 34, 27  # heights in pixels: a line of the legend, a table's head, a row


def join(parts: Mapping[str, go.Figure], title: str, columns: int = 3) -> go.Figure:
    """Figures as the panels of one, at most `columns` in a row; a figure of several panels gives each of its own.

    The legend names what several panels share once.
    """
    panels = []
    for name, part in parts.items():
        axes = list(dict.fromkeys(trace.xaxis or "x" for trace in part.data))
        notes = [note.text for note in part.layout.annotations] if len(axes) > 1 else []
        panels += [
            (part, axis, f"{name}: {notes[i]}" if notes else name) for i, axis in enumerate(axes)
        ]
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[text for *_, text in panels],
        horizontal_spacing=0.22 / columns**1.5,
        vertical_spacing=0.22 / rows,
    )
    named: set[str] = set()
    for number, (part, axis, _) in enumerate(panels):
        row, column = number // columns + 1, number % columns + 1
        for trace in part.data:
            if (trace.xaxis or "x") == axis:
                shown = (
                    trace.showlegend is not False
                    and trace.name is not None
                    and trace.name not in named
                )
                named |= {trace.name} if shown else set()
                copied = type(trace)(
                    trace.to_plotly_json() | {"showlegend": shown, "xaxis": None, "yaxis": None}
                )
                figure.add_trace(copied, row=row, col=column)
        for kind in ("x", "y"):
            own = part.layout[axis.replace("x", f"{kind}axis")]
            (figure.update_xaxes if kind == "x" else figure.update_yaxes)(
                title={"text": own.title.text, "font": {"size": 12}, "standoff": 4},
                zeroline=own.zeroline,
                showticklabels=own.showticklabels,
                type=own.type,
                tickvals=own.tickvals,
                row=row,
                col=column,
            )
        here = str(number + 1) if number else ""
        for shape in part.layout.shapes:
            place = {key: shape[key].replace(key[0], key[0] + here) for key in ("xref", "yref")}
            figure.add_shape(shape.to_plotly_json() | place)
    below = LEGEND * (1 + len(named) // 5)
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 70, "r": 20, "t": 90, "b": 70 + below}},
        height=170 + 340 * rows + below,
        title=title,
        legend={
            "orientation": "h",
            "y": -60 / (340 * rows),
            "yanchor": "top",
            "font": {"size": 12},
        },
    )
    return figure


def lines(
    points: pd.DataFrame,
    x: str,
    y: str,
    title: str = "",
    names: Sequence[str] = (),
    log: bool = False,
) -> go.Figure:
    """Points of one name joined by a line, in the given order; filled and solid: ours, hollow and dotted: published.

    points: columns name, label (of a point, shown on hover), published (true or false), x, y; x and y name the axes.
    names: all names of a set of figures, in one order, so that each looks the same in all of them.
    """
    figure = go.Figure()
    for number, name in enumerate(dict.fromkeys([*names, *points.name])):
        colour, symbol = COLOURS[number % 8], SYMBOLS[number % 8]
        for published, part in points[points.name == name].groupby("published"):
            hollow = (
                {"symbol": f"{symbol}-open", "line": {"width": 2}}
                if published
                else {"symbol": symbol}
            )
            figure.add_scatter(
                x=part.x,
                y=part.y,
                mode="lines+markers",
                name=f"{name}, published" if published else name,
                line={"color": colour, "width": 1, "dash": DASHES[2 if published else 0]},
                marker={"color": colour, "size": 9, **hollow},
                customdata=part.label,
                hovertemplate=f"{name}, %{{customdata}}<br>x %{{x:.1f}}<br>y %{{y:.1f}}<extra></extra>",
            )
    figure.update_layout(
        **LAYOUT,
        height=max(520, 160 + LEGEND * len(figure.data)),
        xaxis_title=x,
        yaxis_title=y,
        title=title,
    )
    if log:
        figure.update_xaxes(type="log", tickvals=sorted(points.x.unique()))
    return figure


def nothing(why: str) -> go.Figure:
    """An empty figure that says why it is empty."""
    figure = go.Figure()
    figure.add_annotation(
        text=why, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"color": GREY}
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(**LAYOUT, height=220)
    return figure
