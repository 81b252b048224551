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
from ..runs.table import RECIPE, best_by_val, recipes, reference_first
from .marks import BAR_NUMBERS, FIRST, ON_PAGE, SECOND, SILENT, THIRD, hover, leads_to_recipe
from .style import COLOURS, GREY, LAYOUT, Look, domains_of, layout, runs_and_seeds, style, titled

if TYPE_CHECKING:
    import pandas as pd

    from ..runs.sweep import Sweep
    from ..runs.thumbnails import Thumbnails

    States = list[dict[str, Any]]  # what a trace that follows the slider is at each alpha

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
    alphas = np.sort(rows.alpha.unique())
    active = int(np.abs(alphas - start).argmin())
    splits = [name for name in rows.columns if SplitName.parse(name).part]
    splits = reference_first(splits, results.reference.iloc[0])
    looks = style(rows.method.unique())

    figure = make_subplots(1, 2, column_widths=[0.58, 0.42], horizontal_spacing=0.12)
    moving: list[int] = []  # places of the traces that follow the slider
    states: list[States] = []
    for method, look in looks.items():
        curve = rows[rows.method == method].sort_values("alpha")
        states += _add_method(figure, curve, look, splits=splits, active=active)
        moving += [len(figure.data) - 2, len(figure.data) - 1]
    _add_zero_shot(figure, rows[rows.alpha == ZERO_SHOT].iloc[0], splits)

    steps = []
    for alpha, state in zip(alphas, zip(*states, strict=True), strict=True):
        steps.append(_step(alpha, "restyle", _restyle(state, "x", "y"), moving))
    slider = _slider(active, steps, pad=45) | {"len": 1.0}
    seeds = int(rows.seeds.max())
    mean = "one seed" if seeds == 1 else f"mean of {seeds} seeds"
    title = titled("WiSE-FT: slide alpha from zero-shot (0) to tuned (1)", mean)
    figure.update_layout(**layout(t=110, b=120), sliders=[slider], title=title, barmode="group")
    if len(looks) < 6:
        figure.update_layout(height=560, legend={"orientation": "h", "y": 1.1, "x": 0})
        figure.update_traces(BAR_NUMBERS, selector={"type": "bar"})
    else:
        figure.update_layout(height=260 + 31 * len(looks), legend={"x": 1.02})
    top = max(100 * rows[splits].to_numpy().max() * 1.12, 1)
    figure.update_xaxes(title_text="reference accuracy (%)", **FIRST)
    figure.update_yaxes(title_text="mean accuracy under shift (%)", **FIRST)
    return figure.update_yaxes(title_text="accuracy (%)", range=[0, min(top, 112)], **SECOND)


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
    figure: go.Figure, curve: pd.DataFrame, look: Look, *, splits: list[str], active: int
) -> tuple[States, States]:
    """A method's curve, and on it the mark and the bars that follow the slider; returns these."""
    marks = []
    bars = []
    for _, row in curve.iterrows():
        marks.append(_mark(row))
        bars.append(_bars(row, splits))

    recipe = curve.iloc[active]
    group = {"legendgroup": recipe.method}
    line = _curve(curve, f"{look.title}, {recipe.steps} steps") | {"line": look.line}
    line |= {"name": f"{look.title} (lr {recipe.lr:g})", "marker": {"size": 5}}
    figure.add_scatter(**line, **group, **FIRST)
    marker = look.marker(17) | {"line": {"color": "white", "width": 2}}
    figure.add_scatter(**marks[active], mode="markers", marker=marker, **group, **SILENT, **FIRST)
    shown = {"x": domains_of(splits), "y": 100 * curve[splits].to_numpy()[active]}
    named = {"name": look.title, "showlegend": False, "marker_color": look.colour}
    figure.add_bar(**shown, **named, **group, **SECOND)
    return marks, bars


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
    looks = style(rows.method.unique())

    figure = go.Figure()
    for method, look in looks.items():
        curves = rows[rows.method == method].groupby(RECIPE)
        for number, ((_, lr, steps, _), curve) in enumerate(curves):
            trace = _curve(curve, f"{look.title}, lr {lr:g}, {steps} steps")
            named = {"name": look.title, "legendgroup": method, "showlegend": number == 0}
            marker = {"size": [4] * (len(curve) - 1) + [11], "symbol": look.symbol}
            figure.add_scatter(**trace, **named, line=look.line | {"width": 1.5}, marker=marker)

    figure.update_xaxes(title_text="reference accuracy (%)")
    figure.update_yaxes(title_text="mean accuracy under shift (%)")
    details = f"large marker: tuned; {runs_and_seeds(results)}"
    title = titled("WiSE curves of every recipe", details)
    return figure.update_layout(**LAYOUT, height=max(520, 200 + 31 * len(looks)), title=title)


def sweep_figure(
    sweep: Sweep, alpha: float = 0.5, thumbnails: Thumbnails | None = None
) -> go.Figure:
    """One run's WiSE curve, its splits and how many predictions flip; a slider over its alphas.

    Arguments:
        sweep: of `read_sweep`.
        alpha: where the slider stands at first.
        thumbnails: show also, for each alpha, images that zero-shot got right and the mixture does
            not, most confident first; not where there are many alphas.

    Returns:
        The figure.

    Example:
        >>> sweep = clipft.read_sweep(clipft.open_runs("runs")[0])
        >>> figure = clipft.sweep_figure(sweep, alpha=0.3)
        >>> len(figure.layout.sliders[0].steps)
        11
    """
    active = sweep.nearest(alpha)
    if len(sweep.alphas) > MOST_STEPS:
        thumbnails = None

    titles = ["WiSE curve", "test accuracy (%)", "flipped predictions"]
    widths = {"column_widths": [0.36, 0.38, 0.26], "horizontal_spacing": 0.08}
    figure = make_subplots(1, 3, **widths, subplot_titles=titles)
    marks = _add_curve(figure, sweep, active)
    bars = _add_bars(figure, sweep, active)
    counts = _add_flips(figure, sweep, active)

    moving = [1, 3, len(figure.data) - 1]
    steps = []
    for place, state in enumerate(zip(marks, bars, counts, strict=True)):
        images = {} if thumbnails is None else {"images": _tiles(sweep, place, thumbnails)}
        update = _restyle(state, "x", "y", "text")
        steps.append(_step(sweep.alphas[place], "update", update, images, moving))
    figure.update_layout(**layout(t=110, b=150), height=540, sliders=[_slider(active, steps, 50)])
    if thumbnails is not None:
        # A row of images below the slider, with its title; the figure grows.
        heading = "Images that zero-shot gets right and this alpha does not, most confident first"
        corner = {"x": 0, "y": -0.62, "xanchor": "left", **ON_PAGE}
        figure.add_annotation(text=heading, showarrow=False, font={"size": 12}, **corner)
        tiles = _tiles(sweep, active, thumbnails)
        figure.update_layout(images=tiles, height=700, margin={"b": 300})

    tested = np.count_nonzero(sweep.split_number >= 0)
    title = titled(f"WiSE of {sweep.title}", f"{tested} test images")
    return figure.update_layout(title=title, legend={"orientation": "h", "y": 1.17, "x": 0.4})


def _add_curve(figure: go.Figure, sweep: Sweep, active: int) -> States:
    """Reference against mean shift accuracy; over alpha where no shift was scored.

    Returns the mark at each alpha.
    """
    x = 100 * sweep.accuracy[:, 0]
    y = 100 * sweep.shift_accuracy
    titles = ("reference accuracy (%)", "mean shift accuracy (%)")
    if np.isnan(y).any():
        y = x
        x = 100 * sweep.alphas
        titles = ("100 alpha", "reference accuracy (%)")
    marks = [{"x": [x[place]], "y": [y[place]]} for place in range(len(sweep.alphas))]

    curve = {"x": x, "y": y, "mode": "lines+markers", "customdata": sweep.alphas}
    curve |= {"line": {"color": COLOURS[0]}, "marker": {"size": 5}, "showlegend": False}
    text = hover("alpha %{customdata:.2f}", "%{x:.1f}, %{y:.1f}")
    figure.add_scatter(**curve, hovertemplate=text, **FIRST)
    marker = {"size": 17, "color": COLOURS[0]}
    figure.add_scatter(**marks[active], mode="markers", marker=marker, **SILENT, **FIRST)
    figure.update_xaxes(title_text=titles[0], **FIRST)
    figure.update_yaxes(title_text=titles[1], **FIRST)
    return marks


def _add_bars(figure: go.Figure, sweep: Sweep, active: int) -> States:
    """The accuracy of each split at the ends and between them; returns the bars at each alpha."""
    accuracy = 100 * sweep.accuracy
    domains = domains_of(sweep.splits)
    models = (("zero-shot", 0, GREY), ("at alpha", active, COLOURS[0]), ("tuned", -1, COLOURS[1]))
    for name, place, colour in models:
        figure.add_bar(x=domains, y=accuracy[place], name=name, marker_color=colour, **SECOND)
    top = 1.15 * max(float(accuracy.max()), 1)
    figure.update_yaxes(range=[0, min(105, top)], **SECOND)
    return [{"x": domains, "y": heights} for heights in accuracy.tolist()]


def _add_flips(figure: go.Figure, sweep: Sweep, active: int) -> States:
    """How many predictions are not those at each end; returns the numbers at each alpha."""
    counts: States = [{"x": [alpha, alpha], "y": [], "text": []} for alpha in sweep.alphas]
    most = 1
    for end, colour, dash in (("zero-shot", GREY, "solid"), ("tuned", COLOURS[1], "dash")):
        flipped = [len(sweep.flips(alpha, ENDS[end])["all"]) for alpha in sweep.alphas]
        most = max(most, *flipped)
        for count, number in zip(counts, flipped, strict=True):
            count["y"].append(number)
            count["text"].append(f"{end}: {number}")
        curve = {"x": sweep.alphas, "y": np.array(flipped), "name": f"against {end}"}
        curve |= {"mode": "lines", "line": {"color": colour, "dash": dash}, "showlegend": False}
        figure.add_scatter(**curve, hovertemplate=hover(f"against {end}: %{{y}}"), **THIRD)

    marker = {"size": 11, "color": [GREY, COLOURS[1]]}
    text = {"textposition": ["bottom center", "top center"], "cliponaxis": False}
    marks = counts[active] | {"mode": "markers+text", "marker": marker}
    figure.add_scatter(**marks, **text, **SILENT, **THIRD)
    figure.update_xaxes(title_text="alpha", range=[-0.4, 1.4], tickvals=[0, 0.5, 1], **THIRD)
    figure.update_yaxes(range=[0, 1.25 * most], **THIRD)
    return counts


def _tiles(sweep: Sweep, place: int, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Layout images: the most confident of those that are lost against zero-shot."""
    lost = sweep.flips(sweep.alphas[place], ZERO_SHOT)["lost"]
    by_confidence = np.argsort(-sweep.confidence[place, lost], kind="stable")
    tiles: list[dict[str, Any]] = []
    for row in lost[by_confidence][:TILES]:
        address = thumbnails[sweep.ids[row]]
        if address:
            corner = {"x": len(tiles) / TILES, "y": -0.68}
            tiles.append({"source": address, **corner, **TILE, **ON_PAGE})
    return tiles


def _slider(active: int, steps: list[dict[str, Any]], pad: int) -> dict[str, Any]:
    """The slider of alpha, so many pixels below the axes."""
    value = {"prefix": "alpha = "}
    return {"active": active, "currentvalue": value, "pad": {"t": pad}, "steps": steps}


def _step(alpha: float, method: str, *args: object) -> dict[str, Any]:
    """A step of the slider: the function of plotly.js that it calls, with what."""
    return {"label": f"{alpha:.2f}".rstrip("0").rstrip("."), "method": method, "args": args}


def _restyle(state: Sequence[dict[str, Any]], *keys: str) -> dict[str, list]:
    """A list per property with a value per trace, as restyle wants them; a null would delete it."""
    updates = {}
    for key in keys:
        updates[key] = [trace.get(key, "") for trace in state]
    return updates
