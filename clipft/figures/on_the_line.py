"""Accuracy on the line: reference against shift on probit axes, a line for each method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from ..config import TUNED
from ..runs.on_the_line import line_table, models_on_lines, probits, shifts_of
from ..runs.table import baselines_of, check_comparable
from .marks import CUSTOM, DASHED, FIRST, hover, hover_of_run, in_panel
from .panels import panel_row
from .style import BELOW, GREY, Look, domain_of, layout, runs_and_seeds, style, titled

if TYPE_CHECKING:
    import pandas as pd

STEPS = (10, 5, 2, 1)  # between ticks, in points: the largest that has so many
FEWEST_TICKS = 3


def on_the_line_figure(
    results: pd.DataFrame, baselines: pd.DataFrame | None = None, alpha: float | None = TUNED
) -> go.Figure:
    """Accuracy under shift against that on the reference, both as probits: a panel per shift.

    A line per method, through its runs, with slope and R2 in its hover text; the panel's title
    counts methods whose slope is negative: off the line. Grey and dashed: the baselines' line.
    Source: Miller et al., arXiv:2107.04649.

    Arguments:
        results: of `clipft.results`.
        baselines: rows of results, or the table of `clipft.evaluate`, through all of which the grey
            line goes; None: no such line.
        alpha: of the models; None: every one.

    Returns:
        The figure.

    Raises:
        ConfigError: where runs cannot be compared, or none is scored at this alpha.

    Example:
        >>> figure = clipft.on_the_line_figure(clipft.results("runs"), alpha=None)
        >>> figure.layout.xaxis.title.text
        'reference accuracy (%)'
    """
    check_comparable(results)
    models = models_on_lines(results, alpha)
    lines = line_table(results, "method", alpha).to_dict("records")
    looks = style(models.method.unique())
    splits = shifts_of(results)
    figure = panel_row([_title_of(lines, split) for split in splits])
    for column, split in enumerate(splits, start=1):
        for method, look in looks.items():
            rows = models[models.method == method]
            (line,) = [it for it in lines if (it["family"], it["split"]) == (method, split)]
            _add_family(figure, rows, look, line, column)
        if baselines is not None:
            _add_baselines(figure, baselines_of(results, baselines), split, column)
    figure.update_xaxes(title_text="reference accuracy (%)", **_ticks(figure, "x"))
    figure.update_yaxes(**_ticks(figure, "y"))
    figure.update_yaxes(title_text="accuracy under shift (%)", **FIRST)
    title = titled("On the line, or off it? (probit axes)", runs_and_seeds(results))
    return figure.update_layout(**layout(t=120), height=560, legend=BELOW, title=title)


def _probit(accuracy: Any) -> np.ndarray:
    from scipy import special

    return special.ndtri(np.asarray(accuracy, dtype=float))


def _ticks(figure: go.Figure, axis: str) -> dict[str, Any]:
    """Round accuracies in percent between the least and the most that is drawn along an axis."""
    from scipy import special

    drawn = np.concatenate([np.asarray(trace[axis], dtype=float) for trace in figure.data])
    low, high = 100 * special.ndtr([np.nanmin(drawn), np.nanmax(drawn)])
    for step in STEPS:
        ticks = np.arange(max(step, np.ceil(low / step) * step), min(high, 99) + 1e-9, step)
        if len(ticks) >= FEWEST_TICKS:
            break
    return {"tickvals": _probit(ticks / 100), "ticktext": [f"{tick:g}" for tick in ticks]}


def _title_of(lines: list[dict[Any, Any]], split: str) -> str:
    """The shift, and how many of the families are off the line."""
    fitted = [line for line in lines if line["split"] == split and _is_fitted(line)]
    off = sum(line["off_the_line"] for line in fitted)
    return f"{domain_of(split)}<br><sub>{off} of {len(fitted)} methods off the line</sub>"


def _is_fitted(line: Mapping[Any, Any]) -> bool:
    """Whether there were enough models for a line."""
    return not np.isnan(line["slope"])


def _said(line: Mapping[Any, Any]) -> str:
    return f"slope {line['slope']:.2f}, R2 {line['r2']:.2f}" if _is_fitted(line) else "no line"


def _add_family(
    figure: go.Figure, rows: pd.DataFrame, look: Look, line: Mapping[Any, Any], column: int
) -> None:
    """The points of a method, and its line where it has one."""
    x, y, finite = probits(rows, line["split"])
    texts = []
    for _, row in rows[finite].iterrows():
        where = f"reference {100 * row.reference_accuracy:.1f} %"
        shifted = f"shift {100 * row[line['split']]:.1f} %"
        texts.append(hover_of_run(row, f"alpha {row.alpha:g}", where, shifted, _said(line)))
    where = in_panel(column, line["family"])
    points = look.points(x, y, size=9)
    figure.add_scatter(**points, customdata=texts, hovertemplate=CUSTOM, **where)
    _add_line(figure, x, line, {"color": look.colour, "width": 1.5}, where)


def _add_baselines(figure: go.Figure, baselines: pd.DataFrame, split: str, column: int) -> None:
    """The baselines, and the line through all of them."""
    models = models_on_lines(baselines, None)
    x, y, _ = probits(models, split)
    lines = line_table(baselines, "all", None).to_dict("records")
    (line,) = [it for it in lines if it["split"] == split]
    where = in_panel(column, "baselines")
    points = Look("baselines", GREY, "circle-open").points(x, y, size=8)
    figure.add_scatter(**points, hovertemplate=hover(f"baselines: {_said(line)}"), **where)
    _add_line(figure, x, line, DASHED, where)


def _add_line(
    figure: go.Figure,
    x: np.ndarray,
    line: Mapping[Any, Any],
    drawn: dict[str, Any],
    where: dict[str, Any],
) -> None:
    """The line over the points, if there is one."""
    if not _is_fitted(line):
        return
    ends = np.array([x.min(), x.max()])
    trace = {"x": ends, "y": line["slope"] * ends + line["offset"], "mode": "lines", "line": drawn}
    figure.add_scatter(**trace, hoverinfo="skip", **where | {"showlegend": False})
