"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import ConfigError
from .style import GREY, LAYOUT, style

if TYPE_CHECKING:
    import pandas as pd


TALL = LAYOUT | {"margin": {"l": 70, "r": 20, "t": 110, "b": 60}}
BELOW = {"orientation": "h", "y": -0.2}


def distortion(table: pd.DataFrame, kind: str = "raw") -> go.Figure:
    """Feature distortion of reference against shifted images, a panel per shift, a point per run (`distortion_table`).

    The theory has every point below the dashed line; each title counts where Welch's interval says so.
    """
    rows = table[table.kind == kind]
    if rows.empty:
        raise ConfigError(f"no feature distortion of kind {kind!r} to draw; known: raw, normalised")
    splits, looks = sorted(rows.split.unique()), style(rows.method.unique())
    both = rows[["reference", "shifted"]].to_numpy()
    low, top = 0.92 * both.min(), 1.05 * both.max()
    counts = {split: part.verdict.value_counts() for split, part in rows.groupby("split")}
    titles = [
        f"{split.split('/')[0]}<br><sub>theory holds in {counts[split].get('holds', 0)}, "
        f"fails in {counts[split].get('fails', 0)}, open in {counts[split].get('open', 0)}</sub>"
        for split in splits
    ]
    figure = make_subplots(
        1, len(splits), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04
    )
    for column, split in enumerate(splits, 1):
        for name, (title, colour, symbol, _) in looks.items():
            part = rows[(rows.split == split) & (rows.method == name)]
            figure.add_scatter(
                x=part.reference,
                y=part.shifted,
                mode="markers",
                name=title,
                legendgroup=name,
                row=1,
                col=column,
                showlegend=column == 1,
                marker={"color": colour, "symbol": symbol, "size": 10, "opacity": 0.8},
                hovertemplate=f"{title}<br>reference %{{x:.3f}}<br>shift %{{y:.3f}}<extra></extra>",
            )
        figure.add_scatter(
            x=[low, top],
            y=[low, top],
            mode="lines",
            line={"color": GREY, "dash": "dash"},
            showlegend=False,
            hoverinfo="skip",
            row=1,
            col=column,
        )
    unit = "||f - f0||, unit rows" if kind == "normalised" else "||F - F0||"
    figure.update_xaxes(title_text=f"reference images: {unit}", range=[low, top])
    figure.update_yaxes(title_text=f"shifted images: {unit}", range=[low, top], row=1, col=1)
    runs = rows.run.nunique()
    title = {"text": f"Feature distortion ({kind}), {runs} runs", "y": 0.97}
    figure.update_layout(**TALL, height=500, legend=BELOW, title=title)
    return figure
