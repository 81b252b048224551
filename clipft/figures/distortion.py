"""Feature distortion of reference images against that of shifted images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from ..errors import ConfigError
from .marks import FIRST, SILENT, diagonal, hover, in_panel, lead_to
from .panels import panel_row
from .style import BELOW, domain_of, layout, style, titled

if TYPE_CHECKING:
    import pandas as pd

NORMS = {"raw": "||F - F0||", "normalised": "||f - f0||, unit rows"}


def distortion_figure(table: pd.DataFrame, kind: str = "raw") -> go.Figure:
    """Feature distortion of reference against shifted images, a panel per shift, a point per run.

    The theory has every point below the dashed line; each title counts where Welch's interval says
    so.

    Arguments:
        table: of `distortion_table`.
        kind: raw, or normalised: on unit rows.

    Returns:
        The figure.

    Raises:
        ConfigError: where no row is of this kind.

    Example:
        >>> table = clipft.distortion_table(clipft.open_runs("runs"))
        >>> figure = clipft.distortion_figure(table, kind="normalised")
    """
    rows = table[table.kind == kind]
    if rows.empty:
        raise ConfigError(f"no feature distortion of kind {kind!r} to draw; known: raw, normalised")
    splits = sorted(rows.split.unique())
    looks = style(rows.method.unique())
    distortions = rows[["reference", "shifted"]].to_numpy()
    ends = [0.92 * distortions.min(), 1.05 * distortions.max()]

    figure = panel_row([_title(split, rows[rows.split == split].verdict) for split in splits])
    for column, split in enumerate(splits, start=1):
        for method, look in looks.items():
            points = rows[(rows.split == split) & (rows.method == method)]
            trace = look.points(points.reference, points.shifted, size=10)
            texts = hover(look.title, "reference %{x:.3f}", "shift %{y:.3f}")
            shown = {"hovertemplate": texts, **lead_to(points)}
            figure.add_scatter(**trace, **in_panel(column, method), **shown)
        figure.add_scatter(**diagonal(*ends), **SILENT, row=1, col=column)

    figure.update_xaxes(title_text=f"reference images: {NORMS[kind]}", range=ends)
    figure.update_yaxes(title_text=f"shifted images: {NORMS[kind]}", range=ends, **FIRST)
    title = titled(f"Feature distortion ({kind})", f"{rows.run.nunique()} runs")
    return figure.update_layout(**layout(t=110), height=500, legend=BELOW, title=title)


def _title(split: str, verdicts: pd.Series) -> str:
    counts = verdicts.value_counts().reindex(["holds", "fails", "open"], fill_value=0)
    found = f"holds in {counts.holds}, fails in {counts.fails}, open in {counts.open}"
    return f"{domain_of(split)}<br><sub>theory {found}</sub>"
