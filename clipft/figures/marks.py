"""What the traces of several figures have in common: guiding lines, hover texts, places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .style import GREY, anchor_of_recipe, anchor_of_run, settings

if TYPE_CHECKING:
    import pandas as pd

DASHED = {"color": GREY, "dash": "dash"}  # a line that only guides the eye
SILENT: dict[str, Any] = {"showlegend": False, "hoverinfo": "skip"}
BAR_NUMBERS = {"texttemplate": "%{y:.0f}", "textposition": "outside", "cliponaxis": False}
ON_PAGE = {"xref": "paper", "yref": "paper"}  # placed in fractions of the page, not on axes
# Places in a figure of several panels.
FIRST = {"row": 1, "col": 1}
SECOND = {"row": 1, "col": 2}
THIRD = {"row": 1, "col": 3}


def in_panel(column: int, group: str) -> dict[str, Any]:
    """The place of a trace that each panel of a row has: the first alone names it in the legend."""
    return {"row": 1, "col": column, "legendgroup": group, "showlegend": column == 1}


def diagonal(low: float, high: float) -> dict[str, Any]:
    """The trace where x equals y, dashed."""
    return {"x": [low, high], "y": [low, high], "mode": "lines", "line": DASHED}


def hover(*lines: str) -> str:
    """A hover text of these lines, without plotly's box that repeats the trace's name."""
    return "<br>".join(lines) + "<extra></extra>"


def hover_of_runs(rows: pd.DataFrame, *lines: str) -> dict[str, Any]:
    """A trace's hover text of each run: its `settings`, then these lines; and where they lead."""
    runs = [settings(row) for _, row in rows.iterrows()]
    return {"customdata": runs, "hovertemplate": hover("%{customdata}", *lines), **lead_to(rows)}


def lead_to(rows: pd.DataFrame) -> dict[str, Any]:
    """What a trace says of where a click on each of its points leads: to the place of its run."""
    return {"meta": {"to": [anchor_of_run(run) for run in rows.run]}}


def leads_to_recipe(recipe: str) -> dict[str, Any]:
    """What a trace says of where a click on any of its points leads: to the place of a recipe."""
    return {"meta": {"to": anchor_of_recipe(recipe)}}
