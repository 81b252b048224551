"""Curves of mixtures from zero-shot to tuned: reference to the right, shift upwards, marks of a
paper's own, on linear or on logit axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from .marks import CUSTOM, SILENT
from .style import GREY, Look, height_beside, layout

# Values of a point's column `mark`.
START = "start"  # the zero-shot model
MIXTURE = "mixture"
CHOSEN = "chosen"
END = "end"  # the tuned model
BASELINE = "baseline"

# Percents that an axis may name; where fewer than FEWEST_TICKS are in reach, every whole one.
TICKS = (1, 2, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 98, 99)
FEWEST_TICKS = 4
MOST_TICKS = 6
SIZES = {MIXTURE: 8, CHOSEN: 15, END: 11, START: 14}
DOTTED = {"color": GREY, "dash": "dot", "width": 1}


@dataclass(frozen=True)
class Drawing:
    """How a paper draws curves.

    Arguments:
        symbols: value of `mark` -> its symbol; what has none looks as a mixture does.
        names: value of `mark` -> its name in the legend.
        logit: whether both axes are logits, their ticks in percent.
    """

    symbols: Mapping[str, str]
    names: Mapping[str, str]
    logit: bool = False

    def place(self, percents: Iterable[float]) -> list[float]:
        """Where accuracies in percent lie on an axis; 0 and 100 have no logit: at 0.1 and 99.9."""
        if not self.logit:
            return list(percents)
        return [_logit(percent) for percent in percents]

    def axis(self, percents: Iterable[float]) -> dict[str, Any]:
        """The ticks of an axis around these accuracies; a linear axis has plotly's."""
        if not self.logit:
            return {}
        percents = list(percents)
        low = min(percents)
        high = max(percents)
        near = [tick for tick in TICKS if low - 5 <= tick <= high + 5]
        if len([tick for tick in near if low <= tick <= high]) < FEWEST_TICKS:
            near = list(range(max(1, math.floor(low)), min(99, math.ceil(high)) + 1))
        room = (_logit(high) - _logit(low)) / MOST_TICKS
        shown: list[int] = []
        for tick in near:
            if not shown or _logit(tick) - _logit(shown[-1]) >= room:
                shown.append(tick)
        ticks = {"tickvals": self.place(shown), "ticktext": [str(tick) for tick in shown]}
        # A logit of 0 is 50 %, which is nothing special.
        return ticks | {"zeroline": False}


def _logit(percent: float) -> float:
    share = min(max(percent / 100, 0.001), 0.999)
    return math.log(share / (1 - share))


def curves_figure(
    points: pd.DataFrame, drawing: Drawing, looks: Mapping[str, Look], titles: tuple[str, str]
) -> go.Figure:
    """A curve per name through its points in their order, with the marks of the paper.

    Filled and solid: ours; hollow and dotted: published. Grey: the zero-shot model, and the points
    and the line of baselines, above which a dotted line shows how far each curve rises.

    Arguments:
        points: columns name, label (shown on hover), mark, published, reference and shift (in
            percent), and expected: what the baselines' line has at that reference, else NaN.
        drawing: of the paper.
        looks: name -> its look; all names of a set of figures, so that each looks the same in all.
        titles: of the axes.

    Returns:
        The figure.
    """
    figure = go.Figure()
    is_grey = points.mark.isin([START, BASELINE])
    _add_baselines(figure, points, drawing)
    for name, look in looks.items():
        of_name = points[(points.name == name) & ~is_grey]
        for published, curve in of_name.groupby("published"):
            start = points[points.mark == START]
            if published or END not in set(curve.mark):
                # Of published curves we have points; one without an end leads not from zero-shot.
                start = start.iloc[:0]
            _add_curve(figure, curve, start, drawing, look)
    for published, start in points[points.mark == START].groupby("published"):
        _add_start(figure, start, drawing, published=bool(published))
    for mark in (CHOSEN, END):
        if mark in drawing.symbols and (points.mark == mark).any():
            marker = {"symbol": drawing.symbols[mark], "size": 11, "color": GREY}
            named = {"name": drawing.names[mark], "mode": "markers", "hoverinfo": "skip"}
            figure.add_scatter(x=[None], y=[None], marker=marker, **named)

    x_title, y_title = titles
    figure.update_xaxes(title_text=x_title, **drawing.axis(points.reference))
    figure.update_yaxes(title_text=y_title, **drawing.axis(points["shift"]))
    return figure.update_layout(**layout(), height=height_beside(len(figure.data)))


def _at(rows: pd.DataFrame, drawing: Drawing) -> dict[str, Any]:
    """Where rows lie, and their hover texts."""
    texts = []
    shown = ["name", "label", "reference", "shift", "expected"]
    for name, label, reference, shift, expected in rows[shown].itertuples(index=False):
        lines = [name, label, f"reference {reference:.1f} %", f"shift {shift:.1f} %"]
        if not math.isnan(expected):
            lines.append(f"effective robustness {shift - expected:+.1f}")
        texts.append("<br>".join(filter(None, lines)))
    places = {"x": drawing.place(rows.reference), "y": drawing.place(rows["shift"])}
    return places | {"customdata": texts, "hovertemplate": CUSTOM}


def _add_curve(
    figure: go.Figure, curve: pd.DataFrame, start: pd.DataFrame, drawing: Drawing, look: Look
) -> None:
    """One curve from its start on: its line with the mixtures, then its other marks."""
    published = bool(curve.published.iloc[0])
    open_or_not = "-open" if published else ""
    along = curve[curve.mark != CHOSEN]  # it lies on one of these
    line = {"color": look.colour, "width": 1.5, "dash": "dot" if published else "solid"}
    small = {"symbol": drawing.symbols[MIXTURE] + open_or_not, "size": SIZES[MIXTURE]}
    small |= {"color": look.colour}
    named = {"name": f"{look.title}, published" if published else look.title}
    figure.add_scatter(
        # The zero-shot model's own mark lies over that of the curve's first point.
        **_at(pd.concat([start, along]), drawing),
        **named,
        legendgroup=named["name"],
        mode="lines+markers",
        line=line,
        marker=small,
    )

    for mark in (END, CHOSEN):
        rows = curve[curve.mark == mark]
        if mark in drawing.symbols and len(rows):
            marker = {"symbol": drawing.symbols[mark] + open_or_not, "size": SIZES[mark]}
            marker |= {"color": look.colour, "line": {"width": 1.5 if published else 0}}
            grouped = {"legendgroup": named["name"], "showlegend": False}
            figure.add_scatter(**_at(rows, drawing), mode="markers", marker=marker, **grouped)
    _add_height(figure, along, drawing)


def _add_height(figure: go.Figure, curve: pd.DataFrame, drawing: Drawing) -> None:
    """From the line of baselines up to the point of a curve that is highest above it."""
    height = (curve["shift"] - curve.expected).dropna()
    if height.empty:
        return
    top = curve.loc[[height.idxmax()]]
    x = drawing.place([*top.reference, *top.reference])
    y = drawing.place([*top.expected, *top["shift"]])
    figure.add_scatter(x=x, y=y, mode="lines", line=DOTTED, **SILENT)


def _add_start(
    figure: go.Figure, start: pd.DataFrame, drawing: Drawing, *, published: bool
) -> None:
    """The zero-shot model."""
    name = f"{drawing.names[START]}, published" if published else drawing.names[START]
    symbol = drawing.symbols[START] + ("-open" if published else "")
    line = {"width": 1.5 if published else 0}
    marker = {"symbol": symbol, "size": SIZES[START], "color": GREY, "line": line}
    figure.add_scatter(**_at(start, drawing), name=name, mode="markers", marker=marker)


def _add_baselines(figure: go.Figure, points: pd.DataFrame, drawing: Drawing) -> None:
    """The models of the reference alone, and their line over all that is drawn."""
    rows = points[points.mark == BASELINE]
    if rows.empty:
        return
    marker = {"symbol": "circle", "size": 7, "color": GREY}
    named = {"name": drawing.names[BASELINE], "mode": "markers"}
    figure.add_scatter(**_at(rows, drawing), marker=marker, **named)
    on_line = points.dropna(subset=["expected"]).sort_values("reference")
    if len(on_line):
        places = {"x": drawing.place(on_line.reference), "y": drawing.place(on_line.expected)}
        line = {"mode": "lines", "line": {"color": GREY, "width": 1.5}, "hoverinfo": "skip"}
        figure.add_scatter(**places, **line, name="their logit-linear fit")
