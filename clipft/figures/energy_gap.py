"""The energy gap against robustness: over runs, without each method in turn, over classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from ..config import TUNED
from ..errors import ConfigError
from ..metrics.correlation import Correlation, correlation
from ..runs.names import title_of
from ..runs.table import wide
from .marks import DASHED, FIRST, hover, hover_of_runs, in_panel
from .panels import panel_row
from .style import (
    BELOW,
    COLOURS,
    GREY,
    LAYOUT,
    UNITS,
    domain_of,
    layout,
    runs_and_seeds,
    style,
    titled,
)

if TYPE_CHECKING:
    import pandas as pd


def energy_gap_figure(
    results: pd.DataFrame, x: str = "energy_gap", y: str = "relative_accuracy", alpha: float = TUNED
) -> go.Figure:
    """Energy gap (or another metric) against relative accuracy (or another), a point per model.

    A panel per shift; each title carries Pearson's r with its 95 % interval. Both are measured on
    the shift's own test images.

    Arguments:
        results: of `clipft.results`.
        x: metric to the right.
        y: metric upwards.
        alpha: of all models.

    Returns:
        The figure.

    Raises:
        ConfigError: where no run has both metrics at this alpha, or runs cannot be compared.

    Example:
        >>> figure = clipft.energy_gap_figure(clipft.results("runs"))
        >>> figure.layout.xaxis.title.text
        'energy gap (squared logits)'
    """
    rows = wide(results)
    rows = rows[(rows.role == "shift") & (rows.alpha == alpha)]
    rows = rows.dropna(subset=[x]) if x in rows else rows.iloc[:0]
    called = y.replace("_", " ")
    if rows.empty or y not in rows:
        reason = f"none scored at alpha {alpha:g}, or none right"
        raise ConfigError(f"no run with {x} and {called}: {reason}")
    looks = style(rows.method.unique())

    models_by_split = dict(list(rows.groupby("split")))
    titles = []
    for split, models in models_by_split.items():
        titles.append(f"{domain_of(str(split))}<br><sub>{correlation(models[x], models[y])}</sub>")
    figure = panel_row(titles)
    for column, models in enumerate(models_by_split.values(), start=1):
        for method, look in looks.items():
            points = models[models.method == method]
            trace = look.points(points[x], points[y], size=11)
            trace |= hover_of_runs(points, "x %{x:.3f}", f"{called} %{{y:.3f}}")
            figure.add_scatter(**trace, **in_panel(column, method))

    label = UNITS.get(x, x)
    figure.update_xaxes(title_text=label)
    figure.update_yaxes(title_text=UNITS.get(y, y), **FIRST)
    metric = label.split(" (")[0].capitalize()
    title = titled(f"{metric} against robustness", runs_and_seeds(results))
    return figure.update_layout(**layout(t=120), height=480, legend=BELOW, title=title)


def leave_one_out_figure(
    panels: Mapping[str, tuple[Correlation, Mapping[str, Correlation]]],
) -> go.Figure:
    """Pearson's r with 95 % intervals of all runs, and without each method in turn.

    A correlation that is undefined (too few points, a constant) is named and not drawn.

    Arguments:
        panels: title -> (`correlation` of all runs, `leave_one_out` of them).

    Returns:
        The figure.

    Example:
        >>> gap, accuracy, method = [3, 2, 1, 0], [1, 2, 3, 5], ["ft", "ft", "lipsum", "lipsum"]
        >>> whole = clipft.correlation(gap, accuracy)
        >>> parts = clipft.leave_one_out(gap, accuracy, method)
        >>> figure = clipft.leave_one_out_figure({"sketch": (whole, parts)})
    """
    figure = panel_row(list(panels))
    most = 0
    for column, (whole, without) in enumerate(panels.values(), start=1):
        points = [_interval("all methods", whole)]
        for method, rest in without.items():
            points.append(_interval(f"without {title_of(method)}", rest))
        most = max(most, len(without))
        names, r, above, below = zip(*points, strict=True)
        colours = [COLOURS[1]] + [COLOURS[0]] * len(without)
        trace = {"x": r, "y": names, "mode": "markers", "marker": {"color": colours, "size": 9}}
        interval = {"type": "data", "array": above, "arrayminus": below, "color": GREY}
        shown = {"showlegend": False, "hovertemplate": hover("%{y}", "r %{x:.2f}")}
        figure.add_scatter(**trace, error_x=interval, **shown, row=1, col=column)

    figure.update_xaxes(title_text="Pearson's r", range=[-1.05, 1.05])
    figure.update_yaxes(autorange="reversed", automargin=True)
    title = "Does the correlation hang on one method?"
    return figure.update_layout(**LAYOUT, height=200 + 28 * most, title=title)


def _interval(name: str, of: Correlation) -> tuple[str, float | None, float | None, float | None]:
    """A point's name, r, and how far the ends of the interval are above and below it."""
    if np.isnan(of.r):
        return f"{name} (undefined)", None, None, None
    return name, of.r, _or_none(abs(of.high - of.r)), _or_none(abs(of.low - of.r))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value  # JSON knows no NaN


def class_figure(table: pd.DataFrame, labels: int = 5) -> go.Figure:
    """Every class: mean energy gap against its change of accuracy.

    Arguments:
        table: of `class_table`.
        labels: so many classes of the largest gap are named.

    Returns:
        The figure.

    Raises:
        ConfigError: where there is no gap.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> figure = clipft.class_figure(clipft.class_table(run, "sketch/test"))
    """
    if "energy_gap" not in table:
        raise ConfigError("these classes have no energy gap: an ensemble has none; use its members")
    rows = table.dropna().sort_values("energy_gap", ascending=False, ignore_index=True)
    named = rows["class"].where(rows.index < labels, "")

    points: dict[str, Any] = {
        "x": rows.energy_gap,
        "y": 100 * rows.change,
        "customdata": rows[["class", "n"]],
    }
    images = "%{customdata[0]}, %{customdata[1]} images"
    points["hovertemplate"] = hover(images, "gap %{x:.2f}", "%{y:+.1f} points")
    marker = {"color": COLOURS[0], "size": 8, "opacity": 0.6}
    text = {"mode": "markers+text", "text": named, "textposition": "top center"}
    figure = go.Figure(go.Scatter(**points, **text, marker=marker))
    figure.add_hline(y=0, line=DASHED)
    figure.update_xaxes(title_text="mean energy gap of the class (squared logits)")
    figure.update_yaxes(title_text="accuracy, tuned minus zero-shot (points)")
    title = f"Which classes moved, {len(rows)} classes"
    return figure.update_layout(**LAYOUT, height=460, title=title)
