"""The geometry of embeddings before and after tuning, and CKA by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from ..data.splits import SplitName
from .given import check_table
from .marks import CUSTOM, hover_of_run, in_panel
from .panels import panel_row
from .style import BELOW, domain_of, layout, look_of, runs_and_seeds, style, titled

if TYPE_CHECKING:
    import pandas as pd

GEOMETRY = {"modality_gap": "modality gap", "alignment": "alignment", "uniformity": "uniformity"}


def geometry_figure(table: pd.DataFrame) -> go.Figure:
    """Modality gap, alignment and uniformity along alpha: a panel each, a line per run and split.

    Arguments:
        table: of `geometry_table`.

    Returns:
        The figure.

    Raises:
        ConfigError: for another table, or one without a row.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> figure = clipft.geometry_figure(clipft.geometry_table(run))
    """
    columns = ("run", "method", "lr", "steps", "seed", "alpha", "split", *GEOMETRY)
    check_table(table, columns, "clipft.geometry_table")
    figure = panel_row(list(GEOMETRY.values()))
    for number, split in enumerate(dict.fromkeys(table.split)):
        look = look_of(number, str(split))
        for place, (_, rows) in enumerate(table[table.split == split].groupby("run")):
            texts = [
                hover_of_run(row, str(split), f"alpha {row.alpha:g}") for _, row in rows.iterrows()
            ]
            for column, measure in enumerate(GEOMETRY, start=1):
                where = in_panel(column, str(split))
                where["showlegend"] = column == 1 and place == 0
                line: dict[str, Any] = {"x": rows.alpha, "y": rows[measure], "line": look.line}
                line |= {"mode": "lines+markers", "name": look.title, "customdata": texts}
                marker = {"size": 6, "symbol": look.symbol}
                figure.add_scatter(**line, marker=marker, hovertemplate=CUSTOM, **where)
    # Each panel has a scale of its own.
    figure.update_yaxes(matches=None, showticklabels=True)
    figure.update_xaxes(title_text="alpha: 0 zero-shot ... 1 tuned")
    title = titled("Where images and classes lie, before and after", runs_and_seeds(table))
    return figure.update_layout(**layout(t=110), height=480, legend=BELOW, title=title)


def cka_figure(table: pd.DataFrame) -> go.Figure:
    """Linear CKA with the zero-shot model by block: a panel per split, a line per run.

    Arguments:
        table: of `cka_table`.

    Returns:
        The figure.

    Raises:
        ConfigError: for another table, or one without a row.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> figure = clipft.cka_figure(clipft.cka_table(run))
    """
    columns = ("run", "method", "lr", "steps", "seed", "split", "block", "place", "cka")
    check_table(table, columns, "clipft.cka_table")
    looks = style(table.method.unique())
    splits = list(dict.fromkeys(table.split))
    figure = panel_row([_called(str(split)) for split in splits])
    for column, split in enumerate(splits, start=1):
        for method, look in looks.items():
            of_method = table[(table.split == split) & (table.method == method)]
            for place, (_, rows) in enumerate(of_method.groupby("run")):
                where = in_panel(column, method)
                where["showlegend"] = column == 1 and place == 0
                texts = []
                for _, row in rows.iterrows():
                    texts.append(hover_of_run(row, f"block {row.block}", f"CKA {row.cka:.3f}"))
                line: dict[str, Any] = {"x": rows.block, "y": rows.cka, "line": look.line}
                line |= {"mode": "lines+markers", "name": look.title, "customdata": texts}
                marker = {"size": 6, "symbol": look.symbol}
                figure.add_scatter(**line, marker=marker, hovertemplate=CUSTOM, **where)
    figure.update_xaxes(title_text="block", type="category")
    figure.update_yaxes(title_text="linear CKA with zero-shot", row=1, col=1)
    title = titled("Which blocks did tuning change?", runs_and_seeds(table))
    above = BELOW | {"y": 1.1, "yanchor": "bottom"}  # below lie names of blocks
    return figure.update_layout(**layout(t=130), height=500, legend=above, title=title)


def _called(split: str) -> str:
    """A test split by its domain, another by its name."""
    return split if SplitName.parse(split).part == "val" else domain_of(split)
