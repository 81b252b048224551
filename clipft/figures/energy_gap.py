"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import ConfigError
from ..metrics.correlation import correlation
from ..runs.names import title_of
from ..runs.table import wide
from .style import COLOURS, GREY, LAYOUT, UNITS, settings, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from ..metrics.correlation import Correlation


def leave_one_out(found: Mapping[str, tuple[Correlation, Mapping[str, Correlation]]]) -> go.Figure:
    """Pearson's r with 95 % intervals of all runs, and without each method in turn; found: panel -> (whole, without).

    A correlation that is undefined (too few points, a constant) is named and not drawn.
    """
    figure = make_subplots(
        1, len(found), subplot_titles=list(found), shared_yaxes=True, horizontal_spacing=0.04
    )
    for column, (whole, without) in enumerate(found.values(), 1):
        rows = {"all methods": whole} | {
            f"without {title_of(name)}": one for name, one in without.items()
        }
        names = [name + (" (undefined)" if np.isnan(one.r) else "") for name, one in rows.items()]
        colours = [COLOURS[1], *[COLOURS[0]] * (len(rows) - 1)]
        r = [None if np.isnan(one.r) else one.r for one in rows.values()]
        spans = [
            [
                None if np.isnan(end) else abs(end - one.r)
                for end, one in zip(ends, rows.values(), strict=True)
            ]
            for ends in ([one.high for one in rows.values()], [one.low for one in rows.values()])
        ]
        figure.add_scatter(
            x=r,
            y=names,
            mode="markers",
            marker={"color": colours, "size": 9},
            showlegend=False,
            row=1,
            col=column,
            error_x={"type": "data", "array": spans[0], "arrayminus": spans[1], "color": GREY},
            hovertemplate="%{y}<br>r %{x:.2f}<extra></extra>",
        )
    figure.update_xaxes(title_text="Pearson's r", range=[-1.05, 1.05])
    figure.update_yaxes(autorange="reversed", automargin=True)
    rows = max(len(without) for _, without in found.values())
    figure.update_layout(
        **LAYOUT, height=200 + 28 * rows, title="Does the correlation hang on one method?"
    )
    return figure


def classes(table: pd.DataFrame, labels: int = 5) -> go.Figure:
    """Every class: mean energy gap against its change of accuracy (`class_table`); the most moved are named."""
    if "energy_gap" not in table:
        raise ConfigError("these classes have no energy gap: an ensemble has none; use its members")
    rows = table.dropna().sort_values("energy_gap", ascending=False, ignore_index=True)
    text = [name if place < labels else "" for place, name in enumerate(rows["class"])]
    figure = go.Figure()
    figure.add_scatter(
        x=rows.energy_gap,
        y=100 * rows.change,
        mode="markers+text",
        text=text,
        textposition="top center",
        marker={"color": COLOURS[0], "size": 8, "opacity": 0.6},
        customdata=rows[["class", "n"]],
        hovertemplate="%{customdata[0]}, %{customdata[1]} images<br>gap %{x:.2f}<br>%{y:+.1f} points<extra></extra>",
    )
    figure.add_hline(y=0, line={"color": GREY, "dash": "dash"})
    figure.update_layout(
        **LAYOUT,
        height=460,
        xaxis_title="mean energy gap of the class (squared logits)",
        yaxis_title="accuracy, tuned minus zero-shot (points)",
        title=f"Which classes moved, {len(rows)} classes",
    )
    return figure


def _seeds(results: pd.DataFrame) -> str:
    return f"{results.run.nunique()} runs, seeds {', '.join(str(s) for s in sorted(results.seed.unique()))}"


def energy_gap(
    results: pd.DataFrame, x: str = "energy_gap", y: str = "relative_accuracy", alpha: float = 1.0
) -> go.Figure:
    """Energy gap (or another metric) against relative accuracy (or another) of every model, a panel per shift.

    Each title carries Pearson's r with its 95 % interval. Both are measured on the shift's own test images.
    """
    rows = wide(results)
    rows = rows[(rows.role == "shift") & (rows.alpha == alpha)]
    rows = rows.dropna(subset=[x]) if x in rows else rows.iloc[:0]
    if rows.empty or y not in rows:
        raise ConfigError(
            f"no run with {x} and {y.replace('_', ' ')}: none scored at alpha {alpha:g}, or none right"
        )
    shifts, looks = sorted(rows.split.unique()), style(rows.method.unique())
    found = {split: correlation(part[x], part[y]) for split, part in rows.groupby("split")}
    captions = [f"{split.split('/')[0]}<br><sub>{found[split]}</sub>" for split in shifts]
    figure = make_subplots(
        1, len(shifts), subplot_titles=captions, shared_yaxes=True, horizontal_spacing=0.04
    )
    for column, split in enumerate(shifts, 1):
        for name, (title, colour, symbol, _) in looks.items():
            part = rows[(rows.split == split) & (rows.method == name)]
            figure.add_scatter(
                x=part[x],
                y=part[y],
                mode="markers",
                name=title,
                legendgroup=name,
                row=1,
                col=column,
                showlegend=column == 1,
                marker={"color": colour, "symbol": symbol, "size": 11, "opacity": 0.8},
                customdata=[settings(row) for _, row in part.iterrows()],
                hovertemplate=f"%{{customdata}}<br>x %{{x:.3f}}<br>{y.replace('_', ' ')} %{{y:.3f}}<extra></extra>",
            )
    label = UNITS.get(x, x)
    figure.update_xaxes(title_text=label)
    figure.update_yaxes(title_text=UNITS.get(y, y), row=1, col=1)
    figure.update_layout(
        **LAYOUT | {"margin": {"l": 70, "r": 20, "t": 120, "b": 60}},
        height=480,
        legend={"orientation": "h", "y": -0.2},
        title={
            "text": f"{label.split(' (')[0].capitalize()} against robustness, {_seeds(results)}",
            "y": 0.96,
        },
    )
    return figure
