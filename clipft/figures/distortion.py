"""Feature distortion of reference images against that of shifted images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from ..config import TUNED
from ..errors import ConfigError
from ..runs.scores import VAL
from ..runs.table import reference_first
from .given import check_table
from .marks import (
    CUSTOM,
    FIRST,
    SILENT,
    diagonal,
    hover,
    hover_of_run,
    hover_of_runs,
    in_panel,
    numbered,
    ring,
)
from .panels import panel_row
from .style import BELOW, Look, called, domain_of, domains_of, layout, style, titled

if TYPE_CHECKING:
    import pandas as pd

NORMS = {"raw": "||F - F0||", "normalised": "||f - f0||, unit rows"}


def distortion_figure(
    table: pd.DataFrame, kind: str = "raw", *, shifts: Sequence[str] | None = None, run: str = ""
) -> go.Figure:
    """Feature distortion of reference against shifted images, a panel per shift, a point per run.

    The theory has every point below the dashed line. A point's bar is Welch's 95 % interval of the
    difference, laid along the y axis: where it crosses the dashed line, the verdict is open. Each
    title counts the verdicts. `meta.id` of a trace numbers its points: the place of the run among
    the sorted ids.

    Arguments:
        table: of `distortion_table`.
        kind: raw, or normalised: on unit rows.
        shifts: names of splits, a panel each; None: all.
        run: the id of a run that is ringed and named; "": none.

    Returns:
        The figure.

    Raises:
        ConfigError: where no row is of this kind, or on these shifts.

    Example:
        >>> table = clipft.distortion_table(clipft.open_runs("runs"))
        >>> figure = clipft.distortion_figure(table, kind="normalised")
    """
    check_table(table, ("kind", "verdict", "shifted"), "clipft.distortion_table")
    rows = table[table.kind == kind]
    if rows.empty:
        raise ConfigError(f"no feature distortion of kind {kind!r} to draw; known: raw, normalised")
    looks = style(rows.method.unique())
    runs = sorted(table.run.unique())
    if shifts is not None:
        rows = rows[rows.split.isin(shifts)]
    if rows.empty:
        raise ConfigError(f"no feature distortion on {', '.join(shifts or ())} to draw")
    splits = reference_first(rows.split.unique(), "")
    ends = _ends(rows)

    figure = panel_row([_title(split, rows[rows.split == split].verdict) for split in splits])
    for column, split in enumerate(splits, start=1):
        figure.add_scatter(**diagonal(*ends), **SILENT, row=1, col=column)
        here = rows[rows.split == split]
        for method, look in looks.items():
            points = here[here.method == method]
            shown = _points(points, look) | numbered(points, runs)
            figure.add_scatter(**shown, **in_panel(column, method))
        chosen = here[here.run == run]
        figure.add_scatter(**ring(chosen.reference, chosen.shifted), row=1, col=column)

    figure.update_xaxes(title_text=f"reference images: {NORMS[kind]}", range=ends)
    figure.update_yaxes(title_text=f"shifted images: {NORMS[kind]}", range=ends, **FIRST)
    details = [f"{rows.run.nunique()} runs; bars: 95 % interval of the difference"]
    chosen = rows[rows.run == run]
    if len(chosen):
        details.append(f"ringed: {called(chosen.iloc[0])}")
    title = titled(f"Feature distortion ({kind})", *details)
    # A click on another run is no other picture: who has zoomed in stays there.
    figure.update_layout(uirevision=f"{kind} {splits}", title=title, legend=BELOW)
    return figure.update_layout(**layout(t=80 + 26 * len(details)), height=490 + 26 * len(details))


def distortion_bars_figure(results: pd.DataFrame, alpha: float = TUNED) -> go.Figure:
    """Mean feature distortion of the reference's and of each shift's test images, by method.

    Bars: mean over runs; points: runs. Source: Lipsum-FT, arXiv:2404.00860, after Kumar et al.,
    arXiv:2202.10054.

    Arguments:
        results: of `clipft.results`.
        alpha: of the models after tuning.

    Returns:
        The figure.

    Raises:
        ConfigError: where no run has a feature distortion at this alpha.

    Example:
        >>> figure = clipft.distortion_bars_figure(clipft.results("runs"))
        >>> figure.layout.yaxis.title.text
        'feature distortion ||F - F0||'
    """
    check_table(results, ("metric", "role", "alpha", "method"), "clipft.results")
    rows = results[(results.metric == "feature_distortion") & (results.alpha == alpha)]
    rows = rows[rows.role != VAL]
    if rows.empty:
        raise ConfigError(f"no feature distortion at alpha {alpha:g} to draw: clipft evaluate RUN")
    splits = reference_first(rows.split.unique(), rows.reference.iloc[0])
    names = domains_of(splits)
    names[0] += " (reference)"

    figure = go.Figure()
    for method, look in style(rows.method.unique()).items():
        here = rows[rows.method == method]
        means = here.groupby("split")["mean"].mean().loc[splits]
        group = {"legendgroup": method, "offsetgroup": method, "alignmentgroup": "method"}
        bar = {"name": look.title, "marker": {"color": look.colour, "opacity": 0.6}}
        text = hover(look.title, "%{x}", "distortion %{y:.3f}")
        figure.add_bar(x=names, y=means, hovertemplate=text, **bar, **group)
        places = here.split.map(dict(zip(splits, names, strict=True)))
        points = look.points(places, here["mean"], size=7) | {"showlegend": False}
        figure.add_scatter(**points, **hover_of_runs(here, "distortion %{y:.3f}"), **group)
    figure.update_yaxes(title_text=f"feature distortion {NORMS['raw']}", rangemode="tozero")
    layouts = {"barmode": "group", "scattermode": "group", "title": "Feature distortion by tuning"}
    return figure.update_layout(**layout(), height=480, **layouts)


def _ends(rows: pd.DataFrame) -> list[float]:
    """The range of both axes: every point and bar, and some room."""
    bars = [rows.reference - rows.high, rows.reference - rows.low]
    low, high = (end(np.concatenate([rows.reference, *bars])) for end in (np.min, np.max))
    room = 0.05 * (high - low) or 0.5
    return [float(low - room), float(high + room)]


def _points(rows: pd.DataFrame, look: Look) -> dict[str, Any]:
    """The points of one method with their intervals and hover texts."""
    texts = []
    for _, row in rows.iterrows():
        means = f"reference {row.reference:.3f}, shift {row.shifted:.3f}"
        interval = f"[{row.low:+.3f}, {row.high:+.3f}]"
        difference = f"difference {row.difference:+.3f} {interval}: {row.verdict}"
        texts.append(hover_of_run(row, means, difference))
    # shifted = reference - difference: the ends of the interval change places
    above = rows.difference - rows.low
    below = rows.high - rows.difference
    bars = {"type": "data", "array": above, "arrayminus": below}
    thin = {"color": look.colour, "thickness": 1, "width": 0}
    trace = look.points(rows.reference, rows.shifted, size=10)
    return trace | {"error_y": bars | thin, "customdata": texts, "hovertemplate": CUSTOM}


def _title(split: str, verdicts: pd.Series) -> str:
    counts = verdicts.value_counts().reindex(["holds", "fails", "open"], fill_value=0)
    found = f"holds in {counts.holds}, fails in {counts.fails}, open in {counts.open}"
    return f"{domain_of(split)}<br><sub>theory {found}</sub>"
