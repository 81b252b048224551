"""Accuracy under shift guessed without its labels: each guess against the truth, and the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import ConfigError, unknown
from ..runs.shift_estimates import ESTIMATORS
from ..runs.track_record import CANDIDATES, SETS, title_of_rule
from .given import check_table
from .marks import CUSTOM, DASHED, SILENT, diagonal, hover_of_run
from .style import LEGEND_LINE, SYMBOLS, domain_of, layout, look_of, titled

if TYPE_CHECKING:
    import pandas as pd

MEASURES = {  # of a record, as on axes, and where a coin or no error is
    "mae": ("mean absolute error (points)", 0.0),
    "spearman": ("rank correlation (Spearman)", 0.0),
    "pairs": ("share of pairs ordered right", 0.5),
}
ACROSS = 4  # panels in a row
ROW = 34  # pixels of a line of dots, and more where there are many in it
SPREAD = 0.7  # of a line's height that its dots take


def estimates_figure(estimates: pd.DataFrame) -> go.Figure:
    """Estimated against true accuracy (%), a panel for each estimator and a colour for each shift.

    On the dashed line an estimate is the truth. Symbols: references.

    Arguments:
        estimates: of `shift_estimates`, on shifts with labels.

    Returns:
        The figure.

    Raises:
        ConfigError: where no estimate has a true accuracy beside it.

    Example:
        >>> table = clipft.shift_estimates("runs", resamples=0)
        >>> figure = clipft.estimates_figure(table)
        >>> figure.layout.annotations[0].text
        'Validation accuracy'
    """
    check_table(estimates, ("estimator", "estimate", "accuracy"), "clipft.shift_estimates")
    rows = estimates[estimates.estimate.notna() & estimates.accuracy.notna()]
    if rows.empty:
        raise ConfigError("no estimate with a true accuracy to draw; wanted: shifts with labels")
    names = [name for name in ESTIMATORS if name in set(rows.estimator)]
    columns = min(ACROSS, len(names))
    lines = -(-len(names) // columns)
    figure = make_subplots(
        lines,
        columns,
        subplot_titles=[ESTIMATORS[name].title for name in names],
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.16 / lines,
    )
    looks = _looks(rows)
    for number, name in enumerate(names):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        figure.add_scatter(**diagonal(0, 100), **SILENT, **place)
        of_estimator = rows[rows.estimator == name]
        for key, look in looks.items():
            reference, split = key
            here = of_estimator[
                (of_estimator.reference == reference) & (of_estimator["split"] == split)
            ]
            shown = look | {"legendgroup": str(key), "showlegend": number == 0}
            texts = [_text_of(row) for _, row in here.iterrows()]
            figure.add_scatter(
                x=100 * here.accuracy, y=100 * here.estimate, mode="markers",
                customdata=texts, hovertemplate=CUSTOM, **shown, **place,
            )  # fmt: skip
    figure.update_xaxes(title_text="true accuracy (%)", row=lines)
    figure.update_yaxes(title_text="estimate (%)", col=1)
    below = LEGEND_LINE * (2 + len(looks) // 4)
    height = 110 + 300 * lines + below
    legend = {"orientation": "h", "y": -70 / (300 * lines), "yanchor": "top"}
    detail = f"{rows.run.nunique()} runs; alphas {_alphas(rows)}"
    title = titled("Accuracy under shift, estimated without its labels", detail)
    return figure.update_layout(
        **layout(t=100, b=70 + below), height=height, legend=legend, title=title
    )


def record_figure(
    record: pd.DataFrame, models: str = "mixed", measures: Sequence[str] = tuple(MEASURES)
) -> go.Figure:
    """How well each estimator did: a dot for each reference and shift, with its 95 % interval.

    Arguments:
        record: of `track_record`.
        models: tuned, or mixed: all alphas above 0.
        measures: mae, spearman, pairs.

    Returns:
        The figure: a panel for each measure.

    Raises:
        ConfigError: for another measure or set of models.

    Example:
        >>> figure = clipft.record_figure(clipft.track_record("runs"))
        >>> figure.layout.xaxis.title.text
        'mean absolute error (points)'
    """
    check_table(record, ("models", "estimator", "mae_low"), "clipft.track_record")
    if models not in SETS:
        raise unknown("set of models", models, SETS)
    for measure in measures:
        if measure not in MEASURES:
            raise unknown("measure", measure, MEASURES)
    rows = record[record.models == models]
    names = [name for name in ESTIMATORS if name in set(rows.estimator)][::-1]
    rows = rows.assign(line=rows.estimator.map({name: place for place, name in enumerate(names)}))
    figure = make_subplots(1, len(measures), shared_yaxes=True, horizontal_spacing=0.03)
    for column, measure in enumerate(measures, start=1):
        ends = (f"{measure}_low", f"{measure}_high")
        _add_dots(figure, rows, (measure, *ends), column)
        words, origin = MEASURES[measure]
        figure.update_xaxes(title_text=words, row=1, col=column)
        figure.add_vline(x=origin, line=DASHED, row=1, col=column)
    titles = [ESTIMATORS[name].title for name in names]
    recipes = rows.groupby(["reference", "split"]).recipes.first()
    detail = f"{SETS[models]}; bars: 95 % intervals over {recipes.min()} to {recipes.max()} recipes"
    title = titled("The record of estimates without labels", detail)
    return _laid_out(figure, titles, rows, title)


def regret_figure(
    table: pd.DataFrame, chooses: str = "alpha", candidates: str = "close"
) -> go.Figure:
    """What each rule loses under shift against its best candidate, and what it gives up on val.

    Arguments:
        table: of `regrets`.
        chooses: alpha, of each run; or model, of all.
        candidates: close (tuned models within a point of the best on val), close or zero-shot, all.

    Returns:
        The figure: a dot for each reference and shift, in points.

    Raises:
        ConfigError: for other candidates.

    Example:
        >>> figure = clipft.regret_figure(clipft.regrets("runs"), candidates="all")
        >>> figure.layout.xaxis.title.text
        'lost under shift (points)'
    """
    check_table(table, ("rule", "regret", "val_lost"), "clipft.regrets")
    if candidates not in CANDIDATES:
        raise unknown("candidates", candidates, CANDIDATES)
    if chooses not in ("alpha", "model"):
        raise unknown("what is chosen", chooses, ("alpha", "model"))
    rows = table[(table.chooses == chooses) & (table.candidates == candidates)]
    titles = rows.apply(title_of_rule, axis=1)
    names = list(dict.fromkeys(titles))[::-1]
    rows = rows.assign(line=titles.map({name: place for place, name in enumerate(names)}))
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.03)
    _add_dots(figure, rows, ("regret", "low", "high"), 1)
    _add_dots(figure, rows, ("val_lost", None, None), 2)
    figure.update_xaxes(title_text="lost under shift (points)", row=1, col=1)
    figure.update_xaxes(title_text="given up on val (points)", row=1, col=2)
    for column in (1, 2):
        figure.add_vline(x=0, line=DASHED, row=1, col=column)
    what = "the alpha of each run" if chooses == "alpha" else "a model of all"
    title = titled(f"Choosing {what} without labels of the shift", f"candidates: {candidates}")
    return _laid_out(figure, names, rows, title)


def _looks(rows: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Reference and split -> name and marker: a colour for each shift, a symbol per reference."""
    pairs = rows[["reference", "split"]].drop_duplicates().sort_values(["split", "reference"])
    splits = list(dict.fromkeys(pairs["split"]))
    references = sorted(set(pairs.reference))
    looks = {}
    for reference, split in pairs.itertuples(index=False):
        look = look_of(splits.index(split), domain_of(split))
        symbol = SYMBOLS[references.index(reference) % len(SYMBOLS)]
        name = f"{domain_of(split)}, tuned on {reference}"
        marker = look.marker(8) | {"symbol": symbol, "opacity": 0.75}
        looks[reference, split] = {"name": name, "marker": marker}
    return looks


def _add_dots(
    figure: go.Figure, rows: pd.DataFrame, columns: tuple[str, Any, Any], place: int
) -> None:
    """A dot for each row at its line, those of one line below each other; columns: value, ends."""
    value, low, high = columns
    looks = _looks(rows)
    for number, (key, look) in enumerate(looks.items()):
        here = rows[(rows.reference == key[0]) & (rows["split"] == key[1])]
        shift = SPREAD * ((number + 0.5) / len(looks) - 0.5)
        bars: dict[str, Any] = {}
        if low is not None:
            above = here[high] - here[value]
            below = here[value] - here[low]
            thin = {"color": look["marker"]["color"], "thickness": 1, "width": 0}
            bars = {"error_x": {"type": "data", "array": above, "arrayminus": below} | thin}
        figure.add_scatter(
            x=here[value], y=here.line - shift, mode="markers", row=1, col=place,
            legendgroup=str(key), showlegend=place == 1, **look, **bars,
            hovertemplate="%{x:.2f}",
        )  # fmt: skip


def _laid_out(
    figure: go.Figure, names: Sequence[str], rows: pd.DataFrame, title: Mapping[str, Any]
) -> go.Figure:
    """Lines with their names, and a legend below."""
    count = len(rows[["reference", "split"]].drop_duplicates())
    lines = len(names) * max(ROW, 7 * count)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=list(names),
        tickfont={"size": 9},  # in a narrow page panels lie below each other, and lines are low
        range=[-0.6, len(names) - 0.4],
    )
    below = LEGEND_LINE * (2 + count // 3)
    legend = {"orientation": "h", "y": -70 / lines, "yanchor": "top"}
    margins = layout(t=90, b=70 + below)
    return figure.update_layout(
        **margins, height=160 + lines + below, legend=legend, title=dict(title)
    )


def _text_of(row: pd.Series) -> str:
    about = f"alpha {row.alpha:g}, {domain_of(row['split'])}"
    accuracies = f"estimate {100 * row.estimate:.1f} %, true {100 * row.accuracy:.1f} %"
    return hover_of_run(row, about, accuracies)


def _alphas(rows: pd.DataFrame) -> str:
    alphas = sorted(rows.alpha.unique())
    if len(alphas) < 4:
        return ", ".join(f"{alpha:g}" for alpha in alphas)
    return f"{alphas[0]:g} to {alphas[-1]:g}"
