"""The training curves of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .marks import FIRST, SECOND
from .style import COLOURS, LAYOUT

if TYPE_CHECKING:
    import pandas as pd


def training_figure(history: pd.DataFrame | Sequence[Mapping]) -> go.Figure:
    """Loss (each term and the sum) and reference validation accuracy (%) over a run's steps.

    Arguments:
        history: of `Run.history`, or the same rows as mappings.

    Returns:
        The figure.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> figure = clipft.training_figure(run.history())
    """
    if not isinstance(history, Sequence):
        history = [row.dropna().to_dict() for _, row in history.iterrows()]
    titles = ["loss", "reference validation accuracy (%)"]
    figure = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.1)

    losses = _rows_with("loss", history)
    terms = [name for name in next(iter(losses), ()) if name not in ("step", "lr")]
    for colour, term in zip(COLOURS, terms, strict=False):
        curve = {"x": _column("step", losses), "y": _column(term, losses)}
        figure.add_scatter(**curve, name=term.replace("_", " "), line={"color": colour}, **FIRST)

    validations = _rows_with("val_accuracy", history)
    curve = {"x": _column("step", validations), "y": _column("val_accuracy", validations, 100)}
    look = {"mode": "lines+markers", "line": {"color": COLOURS[2]}, "name": "validation"}
    figure.add_scatter(**curve, **look, **SECOND)
    figure.update_xaxes(title_text="step")
    return figure.update_layout(**LAYOUT, height=380, legend={"orientation": "h", "y": -0.25})


def _rows_with(key: str, history: Sequence[Mapping]) -> list[Mapping]:
    return [row for row in history if key in row]


def _column(key: str, rows: Sequence[Mapping], factor: float = 1) -> list[float]:
    return [factor * row[key] for row in rows]
