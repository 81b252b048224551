"""WiSE-FT: curves along alpha, and figures whose slider moves it in the page, without a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..config import TUNED, ZERO_SHOT
from ..data.splits import SplitName
from ..errors import ConfigError
from ..runs.names import NOT_TRAINED, recipe_in_words
from ..runs.table import RECIPE, best_by_val, recipes, reference_first, scored_by
from .given import check_fields
from .marks import BAR_NUMBERS, FIRST, ON_PAGE, SECOND, SILENT, THIRD, hover, leads_to_recipe
from .moves import ROOM, States, add_slider
from .style import (
    ABOVE,
    CLEAR,
    COLOURS,
    GREY,
    IN_CORNER,
    Look,
    domains_of,
    layout,
    look_of,
    runs_and_seeds,
    style,
    titled,
)

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.sweep import Sweep
    from ..runs.thumbnails import Thumbnails

TITLES = ("reference {reference} (%)", "mean shift {shift} (%)")  # of metrics in words
TITLES_ALONE = ("100 alpha", "reference {reference} (%)")  # of a data set without a shift
ENDS = {"zero-shot": ZERO_SHOT, "tuned": TUNED}
MOST_STEPS = 21  # beyond so many alphas, thumbnails would make the page heavy
TILES = 12  # thumbnails in their row
TILE = {"sizex": 0.95 / TILES, "sizey": 0.3, "xanchor": "left", "yanchor": "top"}


def wise_slider_figure(results: pd.DataFrame, start: float = 0.5) -> go.Figure:
    """A slider of alpha moves a marker on each method's WiSE curve, and the bars of every split.

    It needs no kernel: a saved page's slider works offline. One recipe per method, chosen on
    reference validation accuracy, mean over seeds; methods that were scored at fewer alphas than
    others are left out. Source: WiSE-FT, arXiv:2109.01903.

    Arguments:
        results: of `clipft.results`.
        start: where the slider stands at first.

    Returns:
        The figure.

    Raises:
        ConfigError: where alpha 0 or 1 is missing, or runs cannot be compared.

    Example:
        >>> figure = clipft.wise_slider_figure(clipft.results("runs"), start=0.3)
        >>> figure.write_html("wise.html")
    """
    rows = _best_curves(results)
    told = scored_by(results)
    words = told.words
    alphas = np.sort(rows.alpha.unique())
    splits = [name for name in rows.columns if SplitName.parse(name).part]
    splits = reference_first(splits, results.reference.iloc[0])
    looks = style(rows.method.unique())

    figure = make_subplots(1, 2, column_widths=[0.58, 0.42], horizontal_spacing=0.12)
    states: dict[int, States] = {}
    for method, look in looks.items():
        curve = rows[rows.method == method].sort_values("alpha")
        states |= _add_method(figure, curve, look, splits)
    _add_zero_shot(figure, rows[rows.alpha == ZERO_SHOT].iloc[0], splits)

    add_slider(figure, alphas, states, start)
    seeds = int(rows.seeds.max())
    mean = "one seed" if seeds == 1 else f"mean of {seeds} seeds"
    title = titled("WiSE-FT: slide alpha from zero-shot (0) to tuned (1)", mean)
    figure.update_layout(**layout(t=110, b=130), title=title, barmode="group")
    if len(looks) < 6:
        figure.update_layout(height=560, legend={"orientation": "h", "y": 1.1, "x": 0})
        figure.update_traces(BAR_NUMBERS, selector={"type": "bar"})
    else:
        figure.update_layout(height=max(560, 260 + 31 * len(looks)), legend={"x": 1.02})
    top = max(100 * rows[splits].to_numpy().max() * 1.12, 1)
    figure.update_xaxes(title_text=f"reference {words['reference']} (%)", **FIRST)
    figure.update_yaxes(title_text=f"mean {words['shift']} under shift (%)", **FIRST)
    return figure.update_yaxes(title_text=f"{told.title} (%)", range=[0, min(top, 112)], **SECOND)


def _best_curves(results: pd.DataFrame) -> pd.DataFrame:
    """`recipes`, but of each method the best alone, at the alphas that all of them have.

    Methods that were scored at fewer alphas than others are left out.
    """
    rows = recipes(results)
    rows = rows[rows.recipe.isin(best_by_val(results).values())]
    alphas_of_method = rows.groupby("method").alpha.transform("nunique")
    rows = rows[alphas_of_method == alphas_of_method.max()]
    methods_at_alpha = rows.groupby("alpha").method.transform("nunique")
    rows = rows[methods_at_alpha == rows.method.nunique()]

    alphas = sorted(rows.alpha.unique().tolist())
    if not {ZERO_SHOT, TUNED} <= set(alphas):
        wanted = "a WiSE figure needs runs scored at alpha 0 and 1"
        raise ConfigError(f"{wanted}, got {alphas}: clipft wise RUN")
    return rows


def _curve(rows: pd.DataFrame, called: str) -> dict[str, Any]:
    """The trace of one recipe's rows along alpha."""
    accuracies = ("reference %{x:.1f} %", "mean shift %{y:.1f} %")
    return {
        "x": 100 * rows.reference_accuracy,
        "y": 100 * rows.shift_accuracy,
        "mode": "lines+markers",
        "customdata": rows.alpha,
        "hovertemplate": hover(called, "alpha %{customdata:.2f}", *accuracies),
        **leads_to_recipe(rows.recipe.iloc[0]),
    }


def _mark(row: pd.Series) -> dict[str, Any]:
    """Where a row of `recipes` lies on its curve."""
    return {"x": [100 * row.reference_accuracy], "y": [100 * row.shift_accuracy]}


def _bars(row: pd.Series, splits: list[str]) -> dict[str, Any]:
    """The accuracy of each split in a row of `recipes`."""
    return {"x": domains_of(splits), "y": (100 * row[splits]).tolist()}


def _add_method(
    figure: go.Figure, curve: pd.DataFrame, look: Look, splits: list[str]
) -> dict[int, States]:
    """A method's curve, and on it the mark and the bars that follow the slider; returns these."""
    recipe = curve.iloc[0]
    group = {"legendgroup": recipe.method}
    told = f"{recipe.steps} steps" if recipe.steps else NOT_TRAINED
    line = _curve(curve, f"{look.title}, {told}") | {"line": look.line}
    rate = f" (lr {recipe.lr:g})" if recipe.steps else ""
    line |= {"name": f"{look.title}{rate}", "marker": {"size": 5}}
    figure.add_scatter(**line, **group, **FIRST)
    marker = look.marker(17) | {"line": {"color": "white", "width": 2}}
    figure.add_scatter(mode="markers", marker=marker, **group, **SILENT, **FIRST)
    named = {"name": look.title, "showlegend": False, "marker_color": look.colour}
    figure.add_bar(**_bars(recipe, splits), **named, **group, **SECOND)

    marks = []
    bars = []
    for _, row in curve.iterrows():
        marks.append(_mark(row))
        bars.append({"y": _bars(row, splits)["y"]})
    return {len(figure.data) - 2: marks, len(figure.data) - 1: bars}


def _add_zero_shot(figure: go.Figure, zero_shot: pd.Series, splits: list[str]) -> None:
    text = {"text": ["zero-shot"], "textposition": "bottom center", "cliponaxis": False}
    star = {"size": 11, "color": GREY, "symbol": "star"}
    mark = _mark(zero_shot) | {"mode": "markers+text", "marker": star}
    figure.add_scatter(**mark, **text, **SILENT, **FIRST)
    bars = _bars(zero_shot, splits)
    figure.add_bar(**bars, name="zero-shot", marker_color=GREY, opacity=0.45, **SECOND)


def wise_curve_figure(results: pd.DataFrame) -> go.Figure:
    """Every recipe's WiSE curve: reference against mean shift accuracy (%), mean over seeds.

    Arguments:
        results: of `clipft.results`.

    Returns:
        The figure.

    Raises:
        ConfigError: where runs cannot be compared.

    Example:
        >>> figure = clipft.wise_curve_figure(clipft.results("runs"))
        >>> len(figure.data)
        2
    """
    rows = recipes(results).sort_values("alpha")
    words = scored_by(results).words
    looks = style(rows.method.unique())

    figure = go.Figure()
    for method, look in looks.items():
        curves = rows[rows.method == method].groupby(RECIPE)
        for number, ((_, lr, steps, _), curve) in enumerate(curves):
            trace = _curve(curve, f"{look.title}, {recipe_in_words(lr, steps)}")
            named = {"name": look.title, "legendgroup": method, "showlegend": number == 0}
            marker = {"size": [4] * (len(curve) - 1) + [11], "symbol": look.symbol}
            figure.add_scatter(**trace, **named, line=look.line | {"width": 1.5}, marker=marker)

    figure.update_xaxes(title_text=f"reference {words['reference']} (%)")
    figure.update_yaxes(title_text=f"mean {words['shift']} under shift (%)")
    details = f"large marker: tuned; {runs_and_seeds(results)}"
    title = titled("WiSE curves of every recipe", details)
    return figure.update_layout(**layout(), height=max(520, 200 + 31 * len(looks)), title=title)


def sweep_figure(
    sweep: Sweep,
    alpha: float = 0.5,
    thumbnails: Thumbnails | None = None,
    beside: Sequence[Sweep] = (),
) -> go.Figure:
    """One run's WiSE curve, its splits and how many predictions flip; a slider over its alphas.

    Arguments:
        sweep: of `read_sweep`.
        alpha: where the slider stands at first.
        thumbnails: show also, for each alpha, images that zero-shot got right and the mixture does
            not, most confident first; not where there are many alphas.
        beside: other runs, whose curves are drawn thin.

    Returns:
        The figure.

    Example:
        >>> sweep = clipft.read_sweep(clipft.open_runs("runs")[0])
        >>> figure = clipft.sweep_figure(sweep, alpha=0.3)
        >>> len(figure.layout.sliders[0].steps)
        11
    """
    check_fields(sweep, ("alphas", "prediction"), "what clipft.read_sweep gives")
    if len(sweep.alphas) > MOST_STEPS:
        thumbnails = None
    looks = looks_of([sweep, *beside])

    titles = ["WiSE curve", f"test {sweep.scored_by.title} (%)", "flipped predictions"]
    widths = {"column_widths": [0.36, 0.38, 0.26], "horizontal_spacing": 0.08}
    figure = make_subplots(1, 3, **widths, subplot_titles=titles)
    states = _add_curve(figure, sweep, looks[0], place=FIRST)
    for number, (other, look) in enumerate(zip(beside, looks[1:], strict=True), start=1):
        _add_thin_curve(figure, other, look, number)
    states |= _add_bars(figure, sweep, looks[0])
    states |= _add_flips(figure, sweep, looks[0])

    figure.update_layout(**layout(t=110, b=150), height=540)
    images = None
    if thumbnails is not None:
        # A row of images below the slider, with its title; the figure grows.
        heading = "Images that zero-shot gets right and this alpha does not, most confident first"
        corner = {"x": 0, "y": -0.62, "xanchor": "left", **ON_PAGE}
        figure.add_annotation(text=heading, showarrow=False, font={"size": 12}, **corner)
        images = [_tiles(sweep, place, thumbnails) for place in range(len(sweep.alphas))]
        first = images[sweep.nearest(alpha)]
        figure.update_layout(images=first, height=700, margin={"b": 300})
    add_slider(figure, sweep.alphas, states, alpha, images=images)

    tested = np.count_nonzero(sweep.split_number >= 0)
    title = titled(sweep.title, ", ".join([*sweep.details, f"{tested} test images"]))
    return figure.update_layout(title=title, legend=IN_CORNER)


def curves_figure(sweeps: Sequence[Sweep], alpha: float | None = TUNED) -> go.Figure:
    """The WiSE curves of a few runs, the first with a marker that a slider of alpha moves.

    Arguments:
        sweeps: of `read_sweep`.
        alpha: where the slider stands at first; None: neither a slider nor its marker.

    Returns:
        The figure.
    """
    looks = looks_of(sweeps)
    if len(sweeps) > 2:  # in the colours of their methods some would be alike
        looks = [look_of(number, sweep.title) for number, sweep in enumerate(sweeps)]
    figure = make_subplots(1, 1)
    states = _add_curve(figure, sweeps[0], looks[0], place=FIRST, is_marked=alpha is not None)
    if len(sweeps) > 2:
        figure.data[0].update(name=sweeps[0].title, showlegend=True)
    details = [", ".join(sweeps[0].called)]
    for number, (other, look) in enumerate(zip(sweeps[1:], looks[1:], strict=True), start=1):
        _add_thin_curve(figure, other, look, number)
        _stand_out(figure.data[-1])
        details.append(f"dotted: {', '.join(other.called)}")
    below = 60
    if alpha is not None:
        add_slider(figure, sweeps[0].alphas, states, alpha)
        below += ROOM
    top = 110 + 22 * (len(details) - 1)
    figure.update_layout(**layout(t=top, b=below), height=300 + top + below, legend=ABOVE)
    return figure.update_layout(title=titled("WiSE curve", *details))


def _stand_out(curve: Any) -> None:
    """Name a thin curve in the legend, and mark its tuned end: it is one of a few to compare."""
    before = len(curve.x) - 1
    marker = {"symbol": ["circle"] * before + ["diamond-open"], "size": [4] * before + [11]}
    curve.update(showlegend=True, opacity=0.8, line={"width": 2}, marker=marker)


def _titles(sweep: Sweep) -> list[str]:
    """Of the axes of a WiSE curve."""
    titles = TITLES if len(sweep.splits) > 1 else TITLES_ALONE
    return [title.format(**sweep.said_of_shifts.words) for title in titles]


def looks_of(sweeps: Sequence[Sweep]) -> list[Look]:
    """How each run is drawn: in the colour of its method."""
    methods = style([sweep.method for sweep in sweeps if sweep.method])
    return [methods.get(sweep.method, Look(sweep.title, COLOURS[0], "circle")) for sweep in sweeps]


def _places(sweep: Sweep) -> tuple[np.ndarray, np.ndarray]:
    """(A,) x and (A,) y of its WiSE curve in percent; over alpha where there is no shift."""
    reference = 100 * sweep.accuracy[:, 0]
    shift = 100 * sweep.shift_accuracy
    return (100 * sweep.alphas, reference) if np.isnan(shift).any() else (reference, shift)


def _add_curve(
    figure: go.Figure, sweep: Sweep, look: Look, place: dict[str, int], *, is_marked: bool = True
) -> dict[int, States]:
    """A run's curve, its ends, and a mark on it; returns the mark at each alpha."""
    x, y = _places(sweep)
    titles = _titles(sweep)
    here = ("alpha %{customdata:.2f}", f"{titles[0]} %{{x:.1f}}", f"{titles[1]} %{{y:.1f}}")
    text = hover(*sweep.called, *here)
    small = {"customdata": sweep.alphas, "hovertemplate": text, "showlegend": False}
    line = {"mode": "lines+markers", "line": {"color": look.colour}, "marker": {"size": 5}}
    figure.add_scatter(x=x, y=y, **small, **line, **place)

    ends = (
        ("zero-shot", 0, {"color": GREY, "symbol": "star", "size": 15}),
        ("tuned", -1, look.hollow(12) | {"symbol": "diamond-open"}),
    )
    for name, end, marker in ends:
        at = {"x": [x[end]], "y": [y[end]], "customdata": [sweep.alphas[end]]}
        named = {"mode": "markers", "name": name, "marker": marker, "hovertemplate": text}
        figure.add_scatter(**at, **named, **place)

    figure.update_xaxes(title_text=titles[0], **place)
    figure.update_yaxes(title_text=titles[1], **place)
    if not is_marked:
        return {}

    marker = look.marker(17) | {"symbol": "circle", "line": {"color": "white", "width": 1.5}}
    named = {"mode": "markers", "name": "at alpha", "marker": marker, "hovertemplate": text}
    figure.add_scatter(x=[], y=[], **named, **place)
    marks = []
    for alpha, x_at, y_at in zip(sweep.alphas, x, y, strict=True):
        marks.append({"x": [x_at], "y": [y_at], "customdata": [alpha]})
    return {len(figure.data) - 1: marks}


def _add_thin_curve(figure: go.Figure, sweep: Sweep, look: Look, number: int) -> None:
    """The curve of a run that is not the one shown; a click on it gives this number."""
    x, y = _places(sweep)
    thin = {"color": look.colour, "width": 1.2, "dash": "dot"}
    line = {"mode": "lines+markers", "opacity": 0.45, "marker": {"size": 4}, "line": thin}
    named = {"name": sweep.title, "showlegend": False, "meta": {"id": number}}
    titles = _titles(sweep)
    numbers = (f"{titles[0]} %{{x:.1f}}", f"{titles[1]} %{{y:.1f}}")
    text = hover(*sweep.called, "alpha %{customdata:.2f}", *numbers)
    at = {"x": x, "y": y, "customdata": sweep.alphas, "hovertemplate": text}
    figure.add_scatter(**at, **line, **named, **FIRST)


def _add_bars(figure: go.Figure, sweep: Sweep, look: Look) -> dict[int, States]:
    """The accuracy of each split at the ends and between them; returns the bars at each alpha."""
    accuracy = 100 * sweep.accuracy
    domains = domains_of(sweep.splits)
    outline = {"color": CLEAR, "line": {"color": look.colour, "width": 1.5}}
    numbers = {"texttemplate": "%{y:.1f}" if len(domains) < 5 else "%{y:.0f}"}
    numbers |= {"textposition": "outside", "cliponaxis": False, "textfont": {"size": 11}}
    models = (
        ("zero-shot", accuracy[0], {"color": GREY}),
        ("at alpha", accuracy[0], {"color": look.colour}),
        ("tuned", accuracy[-1], outline),
    )
    for name, heights, marker in models:
        text = hover(f"{name}, %{{x}}", f"{sweep.scored_by.title} %{{y:.1f}} %")
        bars = {"x": domains, "y": heights, "name": name, "marker": marker, "hovertemplate": text}
        figure.add_bar(**bars, **numbers, showlegend=False, **SECOND)
    top = 1.15 * max(float(accuracy.max()), 1)
    figure.update_yaxes(range=[0, min(105, top)], **SECOND)
    states = [{"y": heights} for heights in accuracy.tolist()]
    return {len(figure.data) - 2: states}


def _add_flips(figure: go.Figure, sweep: Sweep, look: Look) -> dict[int, States]:
    """How many predictions are not those at each end; returns the numbers at each alpha."""
    counts: States = [{"x": [alpha, alpha], "y": [], "text": []} for alpha in sweep.alphas]
    most = 1
    for end, colour, dash in (("zero-shot", GREY, "solid"), ("tuned", look.colour, "dash")):
        flipped = [len(sweep.flips(alpha, ENDS[end])["all"]) for alpha in sweep.alphas]
        most = max(most, *flipped)
        for count, number in zip(counts, flipped, strict=True):
            count["y"].append(number)
            count["text"].append(f"{end}: {number}")
        curve = {"x": sweep.alphas, "y": np.array(flipped), "name": f"against {end}"}
        curve |= {"mode": "lines", "line": {"color": colour, "dash": dash}, "showlegend": False}
        text = hover("alpha %{x:.2f}", f"%{{y}} images flipped against {end}")
        figure.add_scatter(**curve, hovertemplate=text, **THIRD)

    marker = {"size": 11, "color": [GREY, look.colour]}
    text = {"textposition": ["bottom center", "top center"], "cliponaxis": False}
    marks = {"x": [], "y": [], "mode": "markers+text", "marker": marker}
    figure.add_scatter(**marks, **text, **SILENT, **THIRD)
    figure.update_xaxes(title_text="alpha", range=[-0.4, 1.4], tickvals=[0, 0.5, 1], **THIRD)
    figure.update_yaxes(range=[0, 1.25 * most], **THIRD)
    return {len(figure.data) - 1: counts}


def _tiles(sweep: Sweep, place: int, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Layout images: the most confident of those that are lost against zero-shot."""
    lost = sweep.flips(sweep.alphas[place], ZERO_SHOT)["lost"]
    by_confidence = np.argsort(-sweep.confidence[place, lost], kind="stable")
    tiles: list[dict[str, Any]] = []
    for row in lost[by_confidence][:TILES]:
        address = thumbnails[sweep.keys[row]]
        if address:
            corner = {"x": len(tiles) / TILES, "y": -0.68}
            tiles.append({"source": address, **corner, **TILE, **ON_PAGE})
    return tiles
