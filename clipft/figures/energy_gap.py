"""The energy gap against robustness: over runs, without each method in turn, over classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from ..config import TUNED, ZERO_SHOT
from ..errors import ConfigError
from ..metrics.correlation import Correlation, correlation, fit_line, influential_pair
from ..runs.names import title_of
from ..runs.scores import SHIFT
from ..runs.table import check_comparable, reference_first, wide
from .given import check_named, check_table
from .marks import CUSTOM, DASHED, FIRST, SILENT, hover, hover_of_run, in_panel, numbered, ring
from .panels import panel_row
from .style import (
    BELOW,
    COLOURS,
    GREY,
    UNITS,
    Look,
    called,
    domain_of,
    layout,
    runs_and_seeds,
    style,
    titled,
)

if TYPE_CHECKING:
    import pandas as pd

BAND = "rgba(119,119,119,0.18)"  # GREY
MARKER_SIZES = (8, 17)  # of the lowest and of the highest learning rate, in pixels
MIDDLE_SIZE = 11
TALL = 330  # pixels of the axes of `class_figure`
LINE = 17  # and of a name in it
SMALL_TEXT = {"textposition": "top right", "textfont": {"size": 10}}


@dataclass(frozen=True)
class Choice:
    """What of the results the figure shows.

    Arguments:
        shifts: names of splits, a panel each; None: all.
        methods: None: all.
        run: the id of a run that is ringed and named; "": none.
        about: the first line below the title; "": how many runs there are and their seeds.
    """

    shifts: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    run: str = ""
    about: str = ""


def energy_gap_figure(
    results: pd.DataFrame,
    x: str = "energy_gap",
    y: str = "relative_accuracy",
    alpha: float = TUNED,
    choice: Choice | None = None,
) -> go.Figure:
    """Energy gap (or another metric) against relative accuracy (or another), a point per model.

    A panel per shift, both measured on its own test images. Bars are 95 % intervals over images;
    the line is that of least squares over the models, with the 95 % interval of its mean (`Line`).
    Each title carries Pearson's r with its 95 % interval, seeds of a recipe kept together
    (`correlation_of_runs`), and r without the two runs that make it (`influential_pair`). The grey
    star is the zero-shot model and counts in none of these.
    `meta.id` of a trace numbers its points: the place of the run among the sorted ids.

    Arguments:
        results: of `clipft.results`.
        x: metric to the right.
        y: metric upwards.
        alpha: of all models.
        choice: of shifts, methods and a run; None: everything.

    Returns:
        The figure.

    Raises:
        ConfigError: where no run has both metrics at this alpha, or runs cannot be compared.

    Example:
        >>> figure = clipft.energy_gap_figure(clipft.results("runs"))
        >>> figure.layout.xaxis.title.text
        'energy gap (squared logits)'
    """
    choice = choice or Choice()
    every = models_at(results, (x, y), alpha)
    models = every
    if choice.shifts is not None:
        models = models[models.split.isin(choice.shifts)]
    if choice.methods is not None:
        models = models[models.method.isin(choice.methods)]
    if models.empty:
        reason = f"none scored at alpha {alpha:g}, or none right"
        if SHIFT not in set(results.role):
            reason = "they are measured under shift, and no shift is scored"
        raise ConfigError(f"no run with {x} and {y.replace('_', ' ')}: {reason}")

    splits = reference_first(models.split.unique(), "")
    painted = _GapPanels(
        figure=panel_row([_title_of(models[models.split == split], x, y) for split in splits]),
        metrics=(x, y),
        looks=style(every.method.unique()),
        runs=sorted(results.run.unique()),
        sizes=_sizes(every.lr),
        seeds=models.seed.nunique() > 1,
    )
    zero_shot = models_at(results, (x, y), ZERO_SHOT)
    if alpha == ZERO_SHOT:
        zero_shot = zero_shot.iloc[:0]
    for column, split in enumerate(splits, start=1):
        painted.add_line(models[models.split == split], column)
        painted.add_models(models[models.split == split], column)
        painted.add_zero_shot(zero_shot[zero_shot.split == split], column)
        chosen = models[(models.split == split) & (models.run == choice.run)]
        painted.figure.add_scatter(**ring(chosen[x], chosen[y]), row=1, col=column)
    return _laid_out(painted, models, zero_shot[zero_shot.split.isin(splits)], choice)


def models_at(results: pd.DataFrame, metrics: Sequence[str], alpha: float) -> pd.DataFrame:
    """A row per run and shift that has all of these metrics at an alpha.

    The columns of `clipft.wide`, and each metric's 95 % interval as METRIC_low and METRIC_high.
    Raises ConfigError where runs cannot be compared.
    """
    check_comparable(results)
    of_metrics = results.metric.isin(metrics)
    cells = results[(results.role == SHIFT) & (results.alpha == alpha) & of_metrics]
    rows = wide(cells)
    columns = list(dict.fromkeys(metrics))
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *columns])))  # also what is not
    for end in ("low", "high"):
        ends = cells.pivot(index=["run", "split"], columns="metric", values=end)
        ends = ends.reindex(columns=columns).add_suffix(f"_{end}")
        rows = rows.join(ends, on=["run", "split"])
    return rows.dropna(subset=list(metrics)).reset_index(drop=True)


def without_two(models: pd.DataFrame, x: str, y: str) -> tuple[pd.DataFrame, Correlation] | None:
    """The two of these rows that make Pearson's r most, and r without them; None without such."""
    pair = influential_pair(models[x], models[y])
    if pair is None:
        return None
    two = models.iloc[list(pair)]
    return two, correlation_of_runs(models.drop(index=two.index), x, y)


def correlation_of_runs(models: pd.DataFrame, x: str, y: str) -> Correlation:
    """Pearson's r over a row per run; seeds of one recipe are no independent runs."""
    return correlation(models[x], models[y], models.recipe.tolist())


def _title_of(models: pd.DataFrame, x: str, y: str) -> str:
    """A panel's title: the shift, r, and r without two runs."""
    lines = [
        domain_of(models.split.iloc[0]),
        f"<sub>{correlation_of_runs(models, x, y).short}</sub>",
    ]
    left_out = without_two(models, x, y)
    if left_out is not None:
        # Three panels of a narrow page have no room for n.
        lines.append(f"<sub>without two: {left_out[1].bare}</sub>")
    return "<br>".join(lines)


def _sizes(rates: pd.Series) -> dict[float, float]:
    """Learning rate -> size of its markers in pixels, the higher the larger.

    What was tuned elsewhere has none: rate 0, of middle size.
    """
    known = sorted(rates[rates > 0].unique())
    sizes = np.linspace(*MARKER_SIZES, len(known)).tolist()
    if len(known) == 1:
        sizes = [MIDDLE_SIZE]
    unknown = {0.0: MIDDLE_SIZE} if (rates == 0).any() else {}
    return unknown | dict(zip(known, sizes, strict=True))


@dataclass(frozen=True)
class _GapPanels:
    """A figure in the making: its panels, and what all of them share.

    Arguments:
        figure: with a panel per shift.
        metrics: to the right and upwards.
        looks: method -> its look.
        runs: sorted ids, in which each run has its number.
        sizes: learning rate -> size of a marker.
        seeds: whether each point carries its seed.
    """

    figure: go.Figure
    metrics: tuple[str, str]
    looks: Mapping[str, Look]
    runs: Sequence[str]
    sizes: Mapping[float, float]
    seeds: bool

    def add_line(self, models: pd.DataFrame, column: int) -> None:
        """The line through the models and its interval, where there is one."""
        x, y = self.metrics
        line = fit_line(models[x], models[y])
        if line is None:
            return
        places = np.linspace(models[x].min(), models[x].max(), 40)
        middle, low, high = line.at(places)
        around = {"x": [*places, *places[::-1]], "y": [*high, *low[::-1]], "mode": "lines"}
        filled = {"fill": "toself", "fillcolor": BAND, "line": {"width": 0}}
        self.figure.add_scatter(**around, **filled, **SILENT, row=1, col=column)
        named = {"name": "least squares, 95 % interval", "hoverinfo": "skip"}
        drawn = {"x": places, "y": middle, "mode": "lines", "line": {"color": GREY, "width": 1.5}}
        self.figure.add_scatter(**drawn, **named, **in_panel(column, "line"))

    def add_models(self, models: pd.DataFrame, column: int) -> None:
        """A trace per method."""
        for method, look in self.looks.items():
            rows = models[models.method == method]
            if rows.empty:
                continue
            trace = self._points(rows, look)
            trace["marker"]["size"] = [self.sizes[lr] for lr in rows.lr]
            texts = [hover_of_run(row, *_measured(row, self.metrics)) for _, row in rows.iterrows()]
            if self.seeds:
                trace |= {"mode": "markers+text", "text": rows.seed.astype(str), **SMALL_TEXT}
            where = in_panel(column, method) | numbered(rows, self.runs)
            self.figure.add_scatter(**trace, customdata=texts, hovertemplate=CUSTOM, **where)

    def add_zero_shot(self, models: pd.DataFrame, column: int) -> None:
        """The model that all started from, as the first of the runs has it."""
        if models.empty:
            return
        look = Look("zero-shot", GREY, "star")
        trace = self._points(models.iloc[:1], look)
        trace["marker"]["size"] = 14
        texts = [
            "<br>".join(["zero-shot", *_measured(row, self.metrics)])
            for _, row in models.iloc[:1].iterrows()
        ]
        where = in_panel(column, "zero-shot")
        self.figure.add_scatter(**trace, customdata=texts, hovertemplate=CUSTOM, **where)

    def _points(self, rows: pd.DataFrame, look: Look) -> dict[str, Any]:
        """Markers with the intervals of both metrics."""
        trace = look.points(rows[self.metrics[0]], rows[self.metrics[1]], size=11)
        for letter, metric in zip("xy", self.metrics, strict=True):
            above = (rows[f"{metric}_high"] - rows[metric]).clip(lower=0)
            below = (rows[metric] - rows[f"{metric}_low"]).clip(lower=0)
            reach = {"type": "data", "array": above, "arrayminus": below}
            thin = {"color": look.colour, "thickness": 1, "width": 0}
            trace[f"error_{letter}"] = reach | thin
        return trace


def _measured(row: pd.Series, metrics: Sequence[str]) -> list[str]:
    """Lines of a hover text: each metric with its interval."""
    lines = []
    for metric in dict.fromkeys(metrics):
        interval = f"[{row[f'{metric}_low']:.3f}, {row[f'{metric}_high']:.3f}]"
        lines.append(f"{metric.replace('_', ' ')} {row[metric]:.3f} {interval}")
    return lines


def _laid_out(
    painted: _GapPanels, models: pd.DataFrame, zero_shot: pd.DataFrame, choice: Choice
) -> go.Figure:
    """The figure with its axes, its title and its legend."""
    x, y = painted.metrics
    figure = painted.figure
    low = min([*models[f"{y}_low"], *zero_shot[f"{y}_low"]])
    high = max([*models[f"{y}_high"], *zero_shot[f"{y}_high"]])
    room = 0.05 * (high - low) or 0.05
    label = UNITS.get(x, x)
    figure.update_xaxes(title_text=label)
    # The interval of a line through three points is wider than all that is to be seen.
    figure.update_yaxes(range=[low - room, high + room])
    figure.update_yaxes(title_text=UNITS.get(y, y), **FIRST)

    details = [choice.about or runs_and_seeds(models), *_said_of_marks(painted)]
    chosen = models[models.run == choice.run]
    if len(chosen):
        details.append(f"ringed: {called(chosen.iloc[0])}")
    metric = label.split(" (")[0].capitalize()
    title = titled(f"{metric} against {y.replace('_', ' ')}", *details)
    figure.update_layout(**layout(t=105 + 26 * len(details)), height=495 + 26 * len(details))
    # A click on another run is no other picture: who has zoomed in stays there.
    same = " ".join([x, y, *models.split.unique(), *models.method.unique()])
    return figure.update_layout(legend=BELOW, title=title, uirevision=same)


def _said_of_marks(painted: _GapPanels) -> list[str]:
    """What sizes and numbers mean, and whose r is the second one."""
    marks = []
    if sum(lr > 0 for lr in painted.sizes) > 1:
        rates = ", ".join(f"{lr:g}" for lr in painted.sizes if lr)
        marks.append(f"larger marker: higher learning rate ({rates})")
    if painted.seeds:
        marks.append("number: seed, where it has room")
    notes = [note.text for note in painted.figure.layout.annotations]
    if any(re.search(r"n = \d+ \(", note) for note in notes):
        marks.append("n: runs (recipes)")
    lines = ["; ".join(marks)] if marks else []
    if any("without two" in note for note in notes):
        lines.append("without two: without the two runs that make r most")
    return lines


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
    check_named(panels, tuple, "(clipft.correlation, clipft.leave_one_out)")
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
    return figure.update_layout(**layout(), height=200 + 28 * most, title=title)


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
    check_table(table, ("change",), "clipft.class_table")
    if "energy_gap" not in table:
        raise ConfigError("these classes have no energy gap: an ensemble has none; use its members")
    rows = table.dropna().sort_values("energy_gap", ascending=False, ignore_index=True)

    points: dict[str, Any] = {
        "x": rows.energy_gap,
        "y": 100 * rows.change,
        "customdata": rows[["class", "n"]],
    }
    images = "%{customdata[0]}, %{customdata[1]} images"
    points["hovertemplate"] = hover(images, "gap %{x:.2f}", "%{y:+.1f} points")
    marker = {"color": COLOURS[0], "size": 8, "opacity": 0.6}
    figure = go.Figure(go.Scatter(**points, mode="markers", marker=marker))
    _name_classes(figure, rows, labels)
    figure.add_hline(y=0, line=DASHED)
    figure.update_xaxes(title_text="mean energy gap of the class (squared logits)")
    figure.update_yaxes(title_text="accuracy, tuned minus zero-shot (points)")
    title = f"Which classes moved, {len(rows)} classes"
    return figure.update_layout(**layout(), height=TALL + 130, title=title)


def _name_classes(figure: go.Figure, rows: pd.DataFrame, labels: int) -> None:
    """Name the first classes beside their points, on the side that has room, none over another."""
    x = rows.energy_gap
    y = 100 * rows.change
    room = 0.08 * (y.max() - y.min()) or 1
    low = y.min() - room
    high = y.max() + room
    figure.update_yaxes(range=[low, high])
    pixels = TALL / (high - low)  # as the axes are equally high in every width

    first = rows[:labels].sort_values("change", ascending=False)
    before = np.inf  # where the name above stands, in pixels from below
    for name, gap, height in zip(first["class"], first.energy_gap, 100 * first.change, strict=True):
        place = pixels * (height - low)
        stands = min(place, before - LINE)
        before = stands
        side = -1 if 2 * gap > x.min() + x.max() else 1
        figure.add_annotation(
            x=gap, y=height, text=name, ax=24 * side, ay=place - stands,
            xanchor="right" if side < 0 else "left",
            arrowhead=0, arrowwidth=1, arrowcolor=GREY, standoff=5, font={"size": 12},
        )  # fmt: skip
