"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from ..errors import ConfigError
from ..runs.table import changes
from .distortion import TALL
from .style import COLOURS, GREY, LAYOUT, SYMBOLS, settings, style

if TYPE_CHECKING:
    import pandas as pd


def trade_off(
    results: pd.DataFrame, published: pd.DataFrame | None = None, alpha: float = 1.0
) -> go.Figure:
    """What each run gained on the reference and lost under shift, in points against its zero-shot model.

    One point per run; lines join the learning rates and lengths of one method (means over seeds). published: columns
    method, reference, shift (fractions) with a row Zero-shot, drawn hollow, from another data set and model.
    """
    rows = changes(results, alpha)
    looks, figure = style(rows.method.unique()), go.Figure()
    by_title = {title: (name, colour, symbol) for name, (title, colour, symbol, _) in looks.items()}
    for name, (title, colour, symbol, dash) in looks.items():
        part = rows[rows.method == name]
        means = part.groupby(["lr", "steps"])[["reference", "shift"]].mean()
        if len(means) > 1:
            figure.add_scatter(
                x=100 * means.reference,
                y=100 * means["shift"],
                mode="lines",
                line={"color": colour, "dash": dash, "width": 1},
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=100 * part.reference,
            y=100 * part["shift"],
            mode="markers",
            name=title,
            legendgroup=name,
            marker={"color": colour, "symbol": symbol, "size": 11, "opacity": 0.85},
            customdata=[settings(row) for _, row in part.iterrows()],
            hovertemplate="%{customdata}<br>reference %{x:+.1f}<br>mean shift %{y:+.1f}<extra></extra>",
        )
    if published is not None:
        zeros = (
            published[published.method == "Zero-shot"]
            .drop_duplicates(keys := ["model", "domain"])
            .set_index(keys)
        )
        tuned = published[published.method != "Zero-shot"]
        for number, (_, row) in enumerate(tuned.iterrows()):
            if (row.model, row.domain) not in zeros.index:
                raise ConfigError(
                    f"the published table has no zero-shot row of {row.model}; choose another table"
                )
            zero = zeros.loc[(row.model, row.domain)]
            name, colour, symbol = by_title.get(row.method, (row.method, GREY, SYMBOLS[number % 8]))
            figure.add_scatter(
                x=[100 * (row.reference - zero.reference)],
                y=[100 * (row["shift"] - zero["shift"])],
                mode="markers",
                name=f"{row.method}, published",
                legendgroup=name,
                marker={
                    "color": colour,
                    "symbol": f"{symbol}-open",
                    "size": 12,
                    "line": {"width": 2},
                },
                hovertemplate="published<br>reference %{x:+.1f}<br>mean shift %{y:+.1f}<extra></extra>",
            )
    figure.add_hline(y=0, line={"color": GREY, "dash": "dash"})
    figure.add_vline(x=0, line={"color": GREY, "dash": "dash"})
    figure.update_layout(
        **LAYOUT,
        height=max(520, 160 + 24 * len(figure.data)),
        xaxis_title="reference accuracy, against zero-shot (points)",
        yaxis_title="mean accuracy under shift, against zero-shot (points)",
        title=f"The trade-off, {rows.run.nunique()} runs"
        + (" (hollow: published)" if published is not None else ""),
    )
    return figure


def choices(table: pd.DataFrame, caption: str = "") -> go.Figure:
    """Mean shift accuracy of the alpha (or model) that accuracy takes against that which the energy gap takes."""
    looks = (
        style(table.method.unique())
        if "method" in table
        else {"": ("models", COLOURS[0], "circle", "")}
    )
    figure = go.Figure()
    for name, (title, colour, symbol, _) in looks.items():
        part = table[table.method == name] if "method" in table else table
        figure.add_scatter(
            x=100 * part["accuracy: shift"],
            y=100 * part["energy_gap: shift"],
            mode="markers",
            name=title,
            marker={"color": colour, "symbol": symbol, "size": 10, "opacity": 0.8},
        )
    both = 100 * table[["accuracy: shift", "energy_gap: shift"]].to_numpy()
    ends = [both.min() - 2, both.max() + 2]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"color": GREY, "dash": "dash"},
        name="equal",
        hoverinfo="skip",
    )
    figure.update_layout(
        **TALL,
        height=540,
        xaxis_title="shift accuracy (%), chosen by reference accuracy",
        yaxis_title="shift accuracy (%), chosen by energy gap",
        title={"text": f"Choosing without shift labels<br><sub>{caption}</sub>", "y": 0.95},
    )
    return figure
