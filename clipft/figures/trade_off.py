"""What fine-tuning gains on the reference and loses under shift, and how alpha is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from ..config import TUNED
from ..errors import ConfigError
from ..runs.table import changes, scored_by
from .given import check_table
from .marks import DASHED, SILENT, diagonal, hover, hover_of_runs
from .style import GREY, SYMBOLS, Look, height_beside, layout, look_of, style, titled

if TYPE_CHECKING:
    import pandas as pd

CHANGES = ("reference %{x:+.1f}", "mean shift %{y:+.1f}")  # of accuracy, in points, as hover text
CHOSEN = ["accuracy: shift", "energy_gap: shift"]  # mean shift accuracy, by what chose the alpha


def trade_off_figure(
    results: pd.DataFrame, published: pd.DataFrame | None = None, alpha: float = TUNED
) -> go.Figure:
    """What each run gained on the reference and under shift, in points against its zero-shot model.

    One point per run; lines join the learning rates and lengths of one method (means over seeds).

    Arguments:
        results: of `clipft.results`.
        published: of `clipft.published`, drawn hollow; of another data set and model.
        alpha: of all runs.

    Returns:
        The figure.

    Raises:
        ConfigError: where the published table has no zero-shot row of a model and domain, or no run
            is scored at alpha 0 and at this alpha.

    Example:
        >>> paper = clipft.published("1")
        >>> figure = clipft.trade_off_figure(clipft.results("runs"), paper)
        >>> figure.layout.title.text
        'The trade-off, 2 runs (hollow: published)'
    """
    rows = changes(results, alpha)
    words = scored_by(results).words
    looks = style(rows.method.unique())

    figure = go.Figure()
    for method, look in looks.items():
        runs = rows[rows.method == method]
        means = runs.groupby(["lr", "steps"])[["reference", "shift"]].mean()
        if len(means) > 1:
            line = {"x": 100 * means.reference, "y": 100 * means["shift"], "mode": "lines"}
            line |= {"line": look.line | {"width": 1}, "legendgroup": method}
            figure.add_scatter(**line, **SILENT)
        trace = look.points(100 * runs.reference, 100 * runs["shift"], size=11, opacity=0.85)
        figure.add_scatter(**trace, legendgroup=method, **hover_of_runs(runs, *CHANGES))

    title = f"The trade-off, {rows.run.nunique()} runs"
    if published is not None:
        _add_published(figure, published, looks)
        title += " (hollow: published)"
    figure.add_hline(y=0, line=DASHED)
    figure.add_vline(x=0, line=DASHED)
    figure.update_xaxes(title_text=f"reference {words['reference']}, against zero-shot (points)")
    figure.update_yaxes(title_text=f"mean {words['shift']} under shift, against zero-shot (points)")
    return figure.update_layout(**layout(), height=height_beside(len(figure.data)), title=title)


def _add_published(figure: go.Figure, published: pd.DataFrame, looks: dict[str, Look]) -> None:
    """A hollow mark per published row, in the colour of our method of the same title."""
    ours = {look.title: (method, look) for method, look in looks.items()}
    is_zero = published.method == "Zero-shot"
    zero = published[is_zero].drop_duplicates(["model", "domain"]).set_index(["model", "domain"])
    for number, (_, row) in enumerate(published[~is_zero].iterrows()):
        if (row.model, row.domain) not in zero.index:
            lack = f"no zero-shot row of {row.model}; choose another table"
            raise ConfigError(f"the published table has {lack}")
        start = zero.loc[(row.model, row.domain)]
        other = Look(row.method, GREY, SYMBOLS[number % 8], dash="solid")
        method, look = ours.get(row.method, (row.method, other))
        x = 100 * (row.reference - start.reference)
        y = 100 * (row["shift"] - start["shift"])
        named = {"name": f"{row.method}, published", "legendgroup": method}
        named |= {"mode": "markers", "hovertemplate": hover("published", *CHANGES)}
        figure.add_scatter(x=[x], y=[y], marker=look.hollow(12), **named)


def choice_figure(table: pd.DataFrame, caption: str = "") -> go.Figure:
    """Mean shift accuracy (%) of what reference accuracy chooses against what energy gap chooses.

    On the dashed line both ways to choose are equal.

    Arguments:
        table: of `choices`: a row per run whose alpha is chosen, or per choice among models.
        caption: below the title.

    Returns:
        The figure.

    Example:
        >>> chosen = clipft.choices(clipft.results("runs"))
        >>> figure = clipft.choice_figure(chosen, caption=str(clipft.verdict(chosen)))
    """
    check_table(table, CHOSEN, "clipft.choices")
    looks = style(table.method.unique()) if "method" in table else {"": look_of(0, "models")}

    figure = go.Figure()
    for method, look in looks.items():
        rows = table[table.method == method] if method else table
        x, y = 100 * rows[CHOSEN].to_numpy().T
        figure.add_scatter(**look.points(x, y, size=10))
    accuracies = 100 * table[CHOSEN].to_numpy()
    equal = diagonal(accuracies.min() - 2, accuracies.max() + 2)
    figure.add_scatter(**equal, name="equal", hoverinfo="skip")
    figure.update_xaxes(title_text="shift accuracy (%), chosen by reference accuracy")
    figure.update_yaxes(title_text="shift accuracy (%), chosen by energy gap")
    title = titled("Choosing without shift labels", caption)
    return figure.update_layout(**layout(t=110), height=540, title=title)
