"""What several figures are made of: rows of panels; and what a paper's page needs.

That is figures side by side, lines of published and own points, a figure that says why it is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .marks import ON_PAGE, hover
from .style import GREY, LEGEND_LINE, height_beside, layout, look_of

if TYPE_CHECKING:
    import pandas as pd

OF_AXES = ("zeroline", "showgrid", "showticklabels", "type", "tickvals", "ticktext", "side")


def panel_row(titles: Sequence[str]) -> go.Figure:
    """Empty panels side by side that share their y axis."""
    gap = min(0.04, 0.5 / len(titles))  # of many panels the gaps would take all the width
    options = {"subplot_titles": titles, "horizontal_spacing": gap}
    return make_subplots(1, len(titles), **options, shared_yaxes=True)


@dataclass(frozen=True)
class Panel:
    """One panel of a figure: the traces on one of its x axes."""

    figure: go.Figure
    axis: str  # of x, as traces name it: x, x2, ...
    title: str


def join_panels(figures: Mapping[str, go.Figure], title: str, columns: int = 3) -> go.Figure:
    """Figures as the panels of one, at most `columns` in a row.

    A figure of several panels gives each of its own. The legend names once what panels share.
    """
    panels: list[Panel] = []
    for name, figure in figures.items():
        panels += _panels_of(figure, name)
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)

    titles = [panel.title for panel in panels]
    spacing = {"horizontal_spacing": 0.22 / columns**1.5, "vertical_spacing": 0.22 / rows}
    joined = make_subplots(rows, columns, subplot_titles=titles, **spacing)
    named: set[str] = set()
    for number, panel in enumerate(panels):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        _copy_traces(panel, joined, named, place)
        _copy_axes(panel, joined, place)
        _copy_shapes(panel, joined, number)

    # A line of the legend, which lies below, holds about five names.
    below = LEGEND_LINE * (1 + len(named) // 5)
    legend = {"orientation": "h", "y": -60 / (340 * rows), "yanchor": "top", "font": {"size": 12}}
    height = 170 + 340 * rows + below
    margins = layout(t=90, b=70 + below)
    return joined.update_layout(**margins, height=height, title=title, legend=legend)


def _panels_of(figure: go.Figure, name: str) -> list[Panel]:
    axes = list(dict.fromkeys(trace.xaxis or "x" for trace in figure.data))
    notes = figure.layout.annotations  # the first of them are the titles of panels
    panels = []
    for number, axis in enumerate(axes):
        title = f"{name}: {notes[number].text}" if len(axes) > 1 and notes else name
        panels.append(Panel(figure, axis, title))
    return panels


def _copy_traces(panel: Panel, joined: go.Figure, named: set[str], place: dict[str, int]) -> None:
    """Add the panel's traces; named: what the legend has already, added to."""
    for trace in panel.figure.data:
        if (trace.xaxis or "x") != panel.axis:
            continue
        own: dict[str, Any] = {"xaxis": None, "yaxis": None}
        if "showlegend" in trace:  # an image has none
            own["showlegend"] = trace.showlegend is not False and trace.name not in (None, *named)
        if own.get("showlegend"):
            named.add(trace.name)
        joined.add_trace(type(trace)(trace.to_plotly_json() | own), **place)


def _copy_axes(panel: Panel, joined: go.Figure, place: dict[str, int]) -> None:
    for letter, update in (("x", joined.update_xaxes), ("y", joined.update_yaxes)):
        axis = panel.figure.layout[panel.axis.replace("x", f"{letter}axis")]
        title = {"text": axis.title.text, "font": {"size": 12}, "standoff": 4}
        same = {name: axis[name] for name in OF_AXES}
        update(title=title, **same, **place)


def _copy_shapes(panel: Panel, joined: go.Figure, number: int) -> None:
    """Add the figure's lines at 0, which name their axes: x, x2, ..."""
    suffix = str(number + 1) if number else ""
    for shape in panel.figure.layout.shapes:
        xref = shape.xref.replace("x", f"x{suffix}")
        yref = shape.yref.replace("y", f"y{suffix}")
        joined.add_shape(shape.to_plotly_json() | {"xref": xref, "yref": yref})


def line_figure(points: pd.DataFrame, x: str, y: str, *, names: Sequence[str] = ()) -> go.Figure:
    """Points of one name joined by a line, in the given order.

    Filled and solid: ours; hollow and dotted: published.
    points: columns name, label (of a point, shown on hover), published (true or false), x, y.
    x, y: titles of the axes. names: all names of a set of figures, in one order, so that each looks
    the same in all of them.
    """
    figure = go.Figure()
    for number, name in enumerate(dict.fromkeys([*names, *points.name])):
        look = look_of(number, name)
        for published, rows in points[points.name == name].groupby("published"):
            shown = {"name": name, "marker": look.marker(9)}
            line = {"color": look.colour, "width": 1, "dash": "solid"}
            if published:
                shown = {"name": f"{name}, published", "marker": look.hollow(9)}
                line["dash"] = "dot"
            texts = hover(f"{name}, %{{customdata}}", "x %{x:.1f}", "y %{y:.1f}")
            trace = {"x": rows.x, "y": rows.y, "customdata": rows.label, "hovertemplate": texts}
            figure.add_scatter(**trace, **shown, mode="lines+markers", line=line)
    height = height_beside(len(figure.data))
    return figure.update_layout(**layout(), height=height, xaxis_title=x, yaxis_title=y)


def empty_figure(why: str) -> go.Figure:
    """A figure that says why it is empty."""
    place = {"x": 0.5, "y": 0.5, **ON_PAGE}
    figure = go.Figure().add_annotation(text=why, showarrow=False, font={"color": GREY}, **place)
    return figure.update_layout(**layout(), height=220, xaxis_visible=False, yaxis_visible=False)
