"""The training curves of one run: the same picture live, in a saved page and in an explorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .given import check_table
from .marks import FIRST, SECOND, SILENT, hover
from .style import OTHER_COLOURS, layout, titled

if TYPE_CHECKING:
    import pandas as pd

MEMORY = 0.9  # of the moving average: what a row weighs against the next; about ten rows count
LOSS = "loss (bold: moving average)"
ACCURACY = "reference validation accuracy (%)"


def training_figure(
    history: pd.DataFrame | Sequence[Mapping], *, title: str = "", last_step: int | None = None
) -> go.Figure:
    """Loss (each term and the sum) and reference validation accuracy (%) over a run's steps.

    Each loss is drawn twice: faint as logged, and bold as its `moving_average`.

    Arguments:
        history: of `Run.history`, or the same rows as mappings.
        title: which run it is.
        last_step: where the steps end; None: at the last that was logged.

    Returns:
        The figure.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> figure = clipft.training_figure(run.history(), title=run.title)
    """
    if not isinstance(history, Sequence):
        check_table(history, ("step",), "Run.history")
        history = [row.dropna().to_dict() for _, row in history.iterrows()]
    figure = make_subplots(1, 2, subplot_titles=[LOSS, ACCURACY], horizontal_spacing=0.1)

    losses = _rows_with("loss", history)
    terms = [name for name in next(iter(losses), ()) if name not in ("step", "lr")]
    for colour, term in zip(OTHER_COLOURS, terms, strict=False):
        _add_loss(figure, losses, term, colour)
    _add_accuracy(figure, _rows_with("val_accuracy", history))

    figure.update_xaxes(title_text="step")
    if last_step is not None:
        figure.update_xaxes(range=[0, last_step])
    figure.update_layout(**layout(), height=380, legend={"orientation": "h", "y": -0.25})
    if title:
        figure.update_layout(**layout(t=90), height=400, title=titled(title))
    # Painted again while it trains, it keeps how far somebody zoomed in.
    return figure.update_layout(uirevision="training")


def moving_average(values: Sequence[float]) -> list[float]:
    """The mean of each value and all before it, in which older ones count less and less.

    s_t = sum_i m^(t-i) y_i / sum_i m^(t-i) over i = 1 ... t, with m = 0.9. Divided by the weights'
    sum, the first rows are not drawn towards 0.
    """
    averages = []
    total = 0.0
    weights = 0.0
    for value in values:
        total = MEMORY * total + value
        weights = MEMORY * weights + 1
        averages.append(total / weights)
    return averages


def _add_loss(figure: go.Figure, rows: Sequence[Mapping], term: str, colour: str) -> None:
    name = term.replace("_", " ")
    steps = _column("step", rows)
    values = _column(term, rows)
    raw = {"mode": "lines", "line": {"color": colour, "width": 1}, "opacity": 0.35, **SILENT}
    figure.add_scatter(
        x=steps, y=values, name=f"{name} as logged", legendgroup=name, **raw, **FIRST
    )

    text = hover("step %{x}", f"{name} %{{customdata:.4g}}", "moving average %{y:.4g}")
    bold = {"mode": "lines", "line": {"color": colour, "width": 2.5}}
    average = {"x": steps, "y": moving_average(values), "customdata": values, "hovertemplate": text}
    figure.add_scatter(**average, name=name, legendgroup=name, **bold, **FIRST)


def _add_accuracy(figure: go.Figure, rows: Sequence[Mapping]) -> None:
    curve = {"x": _column("step", rows), "y": _column("val_accuracy", rows, 100)}
    look = {"mode": "lines+markers", "line": {"color": OTHER_COLOURS[4]}, "marker": {"size": 7}}
    # The last validation is at the last step: its point is not cut at the panel's edge.
    look |= {"cliponaxis": False, "name": "validation"}
    text = hover("step %{x}", "validation %{y:.2f} %")
    figure.add_scatter(**curve, **look, hovertemplate=text, **SECOND)
    if not rows:
        figure.update_yaxes(range=[0, 100], **SECOND)  # plotly's own would begin below 0


def _rows_with(key: str, history: Sequence[Mapping]) -> list[Mapping]:
    return [row for row in history if key in row]


def _column(key: str, rows: Sequence[Mapping], factor: float = 1) -> list[float]:
    return [factor * row[key] for row in rows]
