"""Accuracy as images are disturbed more and more, a panel for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..config import TUNED, ZERO_SHOT
from ..data.severities import KINDS
from ..runs.corruption import made_rows
from .style import BELOW, GREY, layout, style, titled

if TYPE_CHECKING:
    import pandas as pd

ACROSS = 5  # panels in a row
ROW = 190  # height of a panel in pixels


def corruption_figure(results: pd.DataFrame) -> go.Figure:
    """Accuracy (%) over severity for each kind of made shift: zero-shot in grey, and tuned models.

    Means over the runs of a method. Severity 0 is the reference as it is.

    Arguments:
        results: of `clipft.results`.

    Returns:
        The figure.

    Raises:
        ConfigError: where no made shift was scored, or runs cannot be compared.

    Example:
        >>> clipft.corruption_figure(clipft.results("runs"))
        Traceback (most recent call last):
        clipft.errors.ConfigError: no made shift was scored; ...
    """
    rows = made_rows(results)
    looks = style(rows.method.unique())
    lines: list[tuple[str, Any, pd.DataFrame]] = []
    zero_shot = rows[rows.alpha == ZERO_SHOT]
    if len(zero_shot):
        lines.append(("zero-shot", {"color": GREY}, zero_shot))
    for method, look in looks.items():
        tuned = rows[(rows.method == method) & (rows.alpha == TUNED)]
        if len(tuned):
            lines.append((look.title, look.line, tuned))

    kinds = [kind for kind in KINDS if kind in set(rows.kind)]
    across = min(ACROSS, len(kinds))
    down = -(-len(kinds) // across)
    panels = [kind.replace("_", " ") for kind in kinds]
    shared: dict[str, Any] = {"shared_yaxes": "all"}
    gaps = {"horizontal_spacing": 0.02, "vertical_spacing": 0.28 / down}
    figure = make_subplots(down, across, subplot_titles=panels, **shared, **gaps)
    for number, kind in enumerate(kinds):
        where = {"row": number // across + 1, "col": number % across + 1}
        for title, line, of_model in lines:
            x, y = _curve(of_model[of_model.kind == kind])
            text = f"{title}, {panels[number]} %{{x}}: %{{y:.1f}} %<extra></extra>"
            about = {"name": title, "legendgroup": title, "showlegend": number == 0}
            figure.add_scatter(x=x, y=y, line=line, hovertemplate=text, **about, **where)
    figure.update_annotations(font_size=13)
    figure.update_xaxes(dtick=1, range=[-0.2, 5.2])
    figure.update_xaxes(title_text="severity", row=down)
    figure.update_yaxes(rangemode="tozero", showticklabels=False)
    figure.update_yaxes(title_text="accuracy (%)", showticklabels=True, col=1)
    heading = titled("Made shifts", "severity 0: the reference as it is; means over runs")
    legend = BELOW | {"y": 0, "yref": "container", "yanchor": "bottom"}
    figure.update_layout(**layout(t=100, b=110), height=210 + ROW * down, title=heading)
    return figure.update_layout(legend=legend)


def _curve(rows: pd.DataFrame) -> tuple[list[int], list[float]]:
    """Severities, and the mean accuracy at each (%); severity 0 is the clean one."""
    if rows.empty:
        return [], []
    errors = rows.groupby("severity").error.mean()
    clean = rows.drop_duplicates("run").clean.mean()
    return [0, *map(int, errors.index)], [100 * (1 - error) for error in (clean, *errors)]
