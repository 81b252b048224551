"""Accuracy on the line: reference against shift on probit axes, a line for each method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from ..config import TUNED
from ..runs.on_the_line import line_table, models_on_lines, probits, shifts_of
from ..runs.table import baselines_of, check_comparable
from .marks import CUSTOM, DASHED, FIRST, hover_of_run, in_panel
from .panels import panel_row
from .style import BELOW, GREY, Look, domain_of, layout, runs_and_seeds, style, titled

if TYPE_CHECKING:
    import pandas as pd

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


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
    lines = line_table(results, "method", alpha).set_index(["family", "split"])
    looks = style(models.method.unique())
    splits = shifts_of(results)
    figure = panel_row([_title_of(lines, split) for split in splits])
    for column, split in enumerate(splits, start=1):
        for method, look in looks.items():
            rows = models[models.method == method]
            _add_family(figure, rows, look, lines.loc[(method, split)], column)
        if baselines is not None:
            _add_baselines(figure, baselines_of(results, baselines), split, column)
    ticks = np.array(TICKS)
    places = _probit(ticks)
    labels = [f"{100 * tick:g}" for tick in ticks]
    figure.update_xaxes(tickvals=places, ticktext=labels, title_text="reference accuracy (%)")
    figure.update_yaxes(tickvals=places, ticktext=labels)
    figure.update_yaxes(title_text="accuracy under shift (%)", **FIRST)
    title = titled("On the line, or off it? (probit axes)", runs_and_seeds(results))
    return figure.update_layout(**layout(t=120), height=560, legend=BELOW, title=title)


def _probit(accuracy: Any) -> np.ndarray:
    from scipy import special

    return special.ndtri(np.asarray(accuracy, dtype=float))


def _title_of(lines: pd.DataFrame, split: str) -> str:
    """The shift, and how many of the families are off the line."""
    of_split = lines.xs(split, level="split")
    fitted = of_split[of_split.slope.notna()]
    off = int(fitted.off_the_line.sum())
    return f"{domain_of(split)}<br><sub>{off} of {len(fitted)} methods off the line</sub>"


def _add_family(
    figure: go.Figure, rows: pd.DataFrame, look: Look, line: pd.Series, column: int
) -> None:
    """The points of a method, and its line where it has one."""
    x, y, finite = probits(rows, str(line.name[1]))
    said = f"slope {line.slope:.2f}, R2 {line.r2:.2f}" if line.slope == line.slope else "no line"
    texts = []
    for _, row in rows[finite].iterrows():
        where = f"reference {100 * row.reference_accuracy:.1f} %"
        shifted = f"shift {100 * row[str(line.name[1])]:.1f} %"
        texts.append(hover_of_run(row, f"alpha {row.alpha:g}", where, shifted, said))
    where = in_panel(column, str(line.name[0]))
    figure.add_scatter(**look.points(x, y, size=9), customdata=texts, hovertemplate=CUSTOM, **where)
    if line.slope == line.slope:
        _add_line(figure, x, line, {"color": look.colour, "width": 1.5}, where)


def _add_line(
    figure: go.Figure, x: np.ndarray, line: pd.Series, drawn: dict[str, Any], where: dict[str, Any]
) -> None:
    ends = np.array([x.min(), x.max()])
    trace = {"x": ends, "y": line.slope * ends + line.offset, "mode": "lines", "line": drawn}
    figure.add_scatter(**trace, hoverinfo="skip", **where | {"showlegend": False})


def _add_baselines(figure: go.Figure, baselines: pd.DataFrame, split: str, column: int) -> None:
    """The baselines, and the line through all of them."""
    models = models_on_lines(baselines, None)
    x, y, _ = probits(models, split)
    line = line_table(baselines, "all", None).set_index("split").loc[split]
    said = f"baselines: slope {line.slope:.2f}, R2 {line.r2:.2f}"
    look = Look("baselines", GREY, "circle-open")
    where = in_panel(column, "baselines")
    points = look.points(x, y, size=8)
    figure.add_scatter(**points, hovertemplate=f"{said}<extra></extra>", **where)
    if line.slope == line.slope:
        _add_line(figure, x, line, DASHED, where)
