"""What the traces of several figures have in common: guiding lines, hover texts, places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .style import GREY, INK, anchor_of_recipe, anchor_of_run, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

DASHED = {"color": GREY, "dash": "dash"}  # a line that only guides the eye
CUSTOM = "%{customdata}<extra></extra>"  # the hover template of texts that are made in Python
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


def hover_of_run(row: pd.Series, *lines: str) -> str:
    """The hover text of one run, for a trace's customdata: its `settings`, its id, these lines."""
    return "<br>".join([settings(row), f"run {row['run']}", *lines])


def lead_to(rows: pd.DataFrame) -> dict[str, Any]:
    """What a trace says of where a click on each of its points leads: to the place of its run."""
    return {"meta": {"to": [anchor_of_run(run) for run in rows.run]}}


def numbered(rows: pd.DataFrame, runs: Sequence[str]) -> dict[str, Any]:
    """As `lead_to`, and the number of each point: the place of its run among these."""
    numbers = {run: number for number, run in enumerate(runs)}
    return {"meta": {**lead_to(rows)["meta"], "id": [numbers[run] for run in rows.run]}}


def ring(x: Any, y: Any) -> dict[str, Any]:
    """The trace that marks chosen points, as painter.js does in a live page."""
    marker = {"symbol": "circle-open", "size": 20, "color": INK, "line": {"width": 2}}
    return {"x": x, "y": y, "mode": "markers", "marker": marker, **SILENT}


def leads_to_recipe(recipe: str) -> dict[str, Any]:
    """What a trace says of where a click on any of its points leads: to the place of a recipe."""
    return {"meta": {"to": anchor_of_recipe(recipe)}}
