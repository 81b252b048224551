"""The way from zero-shot to tuned weights: along the line between them, and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .given import check_named, check_table
from .marks import in_panel
from .style import domain_of, layout, look_of, style

if TYPE_CHECKING:
    import pandas as pd

MIXTURES = (("wise", "WiSE", "solid"), ("ensemble", "ensemble", "dot"))  # column, title, dash
METRICS = (("accuracy", 100), ("nll", 1))  # a panel each, and the factor to its unit


def path_figure(table: pd.DataFrame) -> go.Figure:
    """Accuracy (%) and NLL (nats) along alpha on every split.

    Solid: WiSE, where weights are mixed; dotted: the output-space ensemble, where logits are.

    Arguments:
        table: of `path_table`.

    Returns:
        The figure.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> figure = clipft.path_figure(clipft.path_table(run, alphas=[0, 0.5, 1]))
    """
    check_table(table, ("role", "wise_accuracy"), "clipft.path_table")
    rows = table[table.role != "val"].sort_values("alpha")
    titles = ["accuracy (%)", "NLL (nats)"]
    figure = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.09)
    for number, (split, path) in enumerate(rows.groupby("split")):
        look = look_of(number, domain_of(str(split)))
        for mixture, title, dash in MIXTURES:
            line: dict[str, Any] = {
                "mode": "lines+markers",
                "line": {"color": look.colour, "dash": dash},
            }
            line["marker"] = {"size": 5, "symbol": look.symbol}
            for column, (metric, factor) in enumerate(METRICS, start=1):
                curve = {"x": path.alpha, "y": factor * path[f"{mixture}_{metric}"]}
                place = in_panel(column, f"{split} {mixture}")
                figure.add_scatter(**curve, **line, name=f"{look.title}, {title}", **place)
    figure.update_xaxes(title_text="alpha: 0 zero-shot ... 1 tuned")
    title = "The linear path, in weights and in logits"
    return figure.update_layout(**layout(), height=460, title=title)


def layer_figure(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Relative distance moved by each layer, a line per method, the head last.

    Layers that stayed where they were are not drawn.

    Arguments:
        tables: method -> `layer_table` of one of its runs.

    Returns:
        The figure.

    Example:
        >>> runs = clipft.open_runs("runs")
        >>> tables = {run.config.method: clipft.layer_table(run) for run in runs}
        >>> figure = clipft.layer_figure(tables)
        >>> [line.name for line in figure.data]
        ['FT', 'Lipsum-FT']
    """
    check_named(tables, object, "clipft.layer_table")
    for table in tables.values():
        check_table(table, ("layer", "relative"), "clipft.layer_table")
    figure = go.Figure()
    for method, look in style(tables).items():
        moved = tables[method].query("relative > 0")
        rows = moved.assign(is_head=moved.layer == "head").sort_values("is_head", kind="stable")
        marker = {"symbol": look.symbol, "size": 8}
        line = {"mode": "lines+markers", "name": look.title, "line": look.line, "marker": marker}
        figure.add_scatter(x=rows.layer.str.replace("visual.", ""), y=100 * rows.relative, **line)
    figure.update_yaxes(title_text="distance moved, % of the layer's norm (log)", type="log")
    return figure.update_layout(**layout(b=150), height=560, title="How far each layer moved")
