"""Hyper-parameters against results, for hundreds of runs: parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from ..config import TUNED
from ..errors import ConfigError
from ..runs.names import ordered, title_of
from ..runs.scores import REFERENCE, SHIFT, VAL
from ..runs.table import check_comparable, of_means, score_rows, scored_by
from .marks import CUSTOM, SILENT, hover_of_run
from .style import GREY, Look, anchor_of_run, layout, style, titled

if TYPE_CHECKING:
    import pandas as pd

SAID = ("method", "lr", "steps")  # settings that have an axis wherever they differ
MADE = ("protocol", "precision")  # settings that the results tell, too
NO_AXIS = {  # what differs from run to run and is no hyper-parameter
    *("seed", "title", "format", "name", "tags", "note", "after", "recipe"),
    *("manifest", "model", "head_from", "data_dir", "workers"),
}
WORDS = {"lr": "learning rate", "lam": "weight λ", "batch_size": "batch", "text_count": "texts"}
MOST_AXES = 6  # of settings, beside those that are always said
LEVELS = 12  # numbers of more values than these are not marked one by one
BAND = 0.6  # of the room between two values: over that the runs of one spread
WIDEST = 0.22  # of such a band
UNKNOWN = -0.15  # the height of what a run does not have
FAINT = 0.5  # opacity of lines
MARKED = 60  # of more runs of one method it is half of that
TICKS = 6  # of an axis of many values, at most about
LETTERS = 16  # of a text beside an axis, at most; a method's title is whole
LETTER = 6.5  # pixels of a letter beside an axis
WIDEST_NAMES = 190  # pixels


@dataclass(frozen=True, eq=False)
class Axis:
    """A vertical axis: heights (N,) in 0 ... 1 of the runs, and what is written beside it.

    Arguments:
        title: below it.
        heights: of each run; those that have no value are below all others.
        ticks: height -> text.
    """

    title: str
    heights: np.ndarray
    ticks: Mapping[float, str]


def parallel_figure(
    results: pd.DataFrame,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    runs: Sequence[str] = (),
) -> go.Figure:
    """Hyper-parameters against results: a line per tuned run, in the colour of its method.

    The axes are the settings in which the runs differ, then accuracy on the reference and under
    shift (mean) and the energy gap, of which less is drawn higher: good runs end at the top. Runs
    of one value are spread around it, so that each line can be followed.

    Arguments:
        results: of `clipft.results`.
        settings: of each run, id -> what its folder records; without them method, learning rate
            and steps are the only ones.
        runs: ids in the order in which a page numbers its points; none: as in the results.

    Returns:
        The figure.

    Raises:
        ConfigError: where runs cannot be compared, or none is scored at alpha 1.

    Example:
        >>> figure = clipft.parallel_figure(clipft.results("runs"))
        >>> figure.layout.title.text.split("<br>")[0]
        'Hyper-parameters and results of 2 runs'
    """
    rows = _tuned(results)
    looks = style(rows.method.unique())
    axes = _axes(rows, settings or {}, scored_by(results).words)
    numbers = {run: number for number, run in enumerate(runs or results.run.unique())}

    figure = go.Figure()
    _add_axes(figure, axes)
    heights = np.column_stack([axis.heights for axis in axes])  # (N, axes)
    for method, look in looks.items():
        is_method = (rows.method == method).to_numpy()
        own = rows[is_method]
        ids = [numbers.get(run, -1) for run in own.run]
        _add_runs(figure, look, own, ids, heights[is_method])
    _add_ticks(figure, axes)
    return _laid_out(figure, axes, len(rows))


def _add_runs(
    figure: go.Figure, look: Look, rows: pd.DataFrame, ids: Sequence[int], heights: np.ndarray
) -> None:
    """The lines of a method's runs and, where they cross an axis, points that can be chosen."""
    count = heights.shape[1]
    faint = FAINT if len(rows) < MARKED else FAINT / 2
    named = {"name": look.title, "legendgroup": look.title}
    line = {"mode": "lines", "line": {"color": look.colour, "width": 1}, "opacity": faint}
    line |= {"meta": {"with": _repeated(ids, count + 1)}, "hoverinfo": "skip", "showlegend": False}
    figure.add_scatter(**_lines(heights), **line, **named)

    x = list(range(count)) * len(rows)
    y = heights.ravel().round(4).tolist()
    places = [anchor_of_run(run) for run in rows.run]
    points: dict[str, Any] = {"mode": "markers", "marker": look.marker(5) | {"opacity": 0.75}}
    points["customdata"] = _repeated([_hover(row) for _, row in rows.iterrows()], count)
    points["meta"] = {"id": _repeated(ids, count), "to": _repeated(places, count)}
    figure.add_scatter(x=x, y=y, hovertemplate=CUSTOM, **points, **named)


def _laid_out(figure: go.Figure, axes: Sequence[Axis], count: int) -> go.Figure:
    """Titles below the axes, no grid, and a box that is drawn around points chooses runs."""
    places = list(range(len(axes)))
    plain = {"showgrid": False, "zeroline": False, "showline": False, "fixedrange": True}
    titles = [axis.title.replace(" ", "<br>") for axis in axes]
    figure.update_xaxes(**plain, range=[-0.1, len(axes) - 0.9], tickvals=places, ticktext=titles)
    highest = max(1.0, *(axis.heights.max() for axis in axes))
    lowest = min(0.0, *(axis.heights.min() for axis in axes))
    span = [lowest - 0.03, highest + 0.03]
    figure.update_yaxes(**plain, range=span, showticklabels=False, automargin=False)

    longest = max(len(text) for text in axes[0].ticks.values())
    left = min(WIDEST_NAMES, round(LETTER * longest) + 20)
    title = f"Hyper-parameters and results of {count} run{'s' if count > 1 else ''}"
    figure.update_layout(**layout(l=left, t=110, b=75), height=600, hovermode="closest")
    return figure.update_layout(
        title=titled(title, "a box drawn around points chooses their runs"),
        dragmode="select",
        legend={"itemsizing": "constant"},
    )


def _tuned(results: pd.DataFrame) -> pd.DataFrame:
    """A row per run: what it is, and reference, shift (fractions) and energy_gap, at alpha 1."""
    import pandas as pd

    check_comparable(results)
    scored_by(results)  # raises
    tests = results[(results.alpha == TUNED) & (results.role != VAL)]
    if tests.empty:
        raise ConfigError("no run is scored at alpha 1, the tuned model: clipft evaluate RUN")
    tests = of_means(tests)
    scores = score_rows(tests)
    of_role = {}
    for name, role in (("reference", REFERENCE), ("shift", SHIFT)):
        of_role[name] = scores[scores.role == role].groupby("run")["mean"].mean()
    gaps = tests[tests.metric == "energy_gap"]
    if (gaps.role == SHIFT).any():
        gaps = gaps[gaps.role == SHIFT]
    of_role["energy_gap"] = gaps.groupby("run")["mean"].mean()
    told = tests.drop_duplicates("run").set_index("run")
    columns = [*SAID, "seed", *told.columns.intersection(list(MADE))]
    numbers = pd.DataFrame(of_role).dropna(axis="columns", how="all")
    rows = told[columns].join(numbers, how="inner").reset_index()
    # Runs that end alike lie beside each other where they are spread.
    return rows.sort_values("shift" if "shift" in rows else "reference", ignore_index=True)


# --- axes


def _axes(
    rows: pd.DataFrame, settings: Mapping[str, Mapping[str, Any]], words: Mapping[str, str]
) -> list[Axis]:
    """Of settings that differ, then of results."""
    axes = []
    is_trained = (rows.steps > 0).to_numpy()
    for name in SAID:
        if rows[name].nunique() > 1 or name == "method":
            values = [value if name == "method" else float(value) for value in rows[name]]
            if name != "method":  # of a model that was tuned elsewhere these are not known
                values = [
                    value if is_trained[place] else None for place, value in enumerate(values)
                ]
            axes.append(_of_setting(name, values))
    for name, values in _others(rows, settings).items():
        axes.append(_of_setting(name, values))
    titles = {
        "reference": f"reference {words['reference']} (%)",
        "shift": f"mean shift {words['shift']} (%)",
        "energy_gap": "energy gap",
    }
    for name, title in titles.items():
        if name in rows:
            factor = 1 if name == "energy_gap" else 100
            measured = (factor * rows[name]).to_list()
            axes.append(_of_result(title, measured, down=name == "energy_gap"))
    return axes


def _others(rows: pd.DataFrame, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The other settings that differ between the runs: those that most runs have, MOST_AXES."""
    told = [dict(settings.get(run, {})) for run in rows.run]
    for column in rows.columns.intersection(list(MADE)):
        for mine, value in zip(told, rows[column], strict=True):
            mine.setdefault(column, value)
    found = {}
    for name in dict.fromkeys(key for mine in told for key in mine):
        values = [_plain(mine.get(name)) for mine in told]
        is_setting = name not in NO_AXIS and name not in SAID and not name.endswith("_digest")
        is_many = isinstance(values[0], str) and len({*values}) > LEVELS
        if is_setting and not is_many and len({*values}) > 1:
            found[name] = values
    known = sorted(found, key=lambda name: found[name].count(None))  # stable
    return {name: found[name] for name in known[:MOST_AXES]}


def _plain(value: Any) -> float | str | None:
    """A setting as an axis has it: a number, a text, or none."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return str(value)


def _of_setting(name: str, values: Sequence[float | str | None]) -> Axis:
    """The axis of a setting: names in order, or numbers, on a log axis where they span decades."""
    title = WORDS.get(name, name.replace("_", " "))
    known = {value for value in values if value is not None}
    heights: dict[Any, float] = {}
    if any(isinstance(value, str) for value in known):
        values = [None if value is None else str(value) for value in values]
        heights = _of_texts(name, {str(value) for value in known})
        ticks = {height: _short(name, text) for text, height in heights.items()}
    else:
        heights = _of_numbers(sorted(float(value) for value in known))
        ticks = {heights[level]: f"{level:g}" for level in _marked(heights)}
    if None in values:
        # Of a model that was tuned elsewhere lr and steps are not known.
        ticks[UNKNOWN] = "none" if name in SAID else "default"
    spread = _spread([heights.get(value, UNKNOWN) for value in values])
    return Axis(title, spread, ticks)


def _of_texts(name: str, texts: set[str]) -> dict[Any, float]:
    """Text -> height, the first one highest."""
    levels = ordered(texts) if name == "method" else sorted(texts)
    return {level: _part(place, len(levels)) for place, level in enumerate(reversed(levels))}


def _short(name: str, text: str) -> str:
    """A text as it stands beside an axis: the title of a method, of others the beginning."""
    if name == "method":
        return title_of(text)
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def _part(place: int, count: int) -> float:
    return place / (count - 1) if count > 1 else 0.5


def _of_numbers(levels: Sequence[float]) -> dict[Any, float]:
    """Value -> height; the logarithm counts where all are positive and the last is 10 times as
    large as the first.
    """
    if not levels:
        return {}
    low, high = levels[0], levels[-1]
    if low == high:
        return {low: 0.5}
    if low > 0 and high >= 10 * low:
        whole = math.log(high / low)
        return {level: math.log(level / low) / whole for level in levels}
    return {level: (level - low) / (high - low) for level in levels}


def _marked(heights: Mapping[float, float]) -> list[float]:
    """The values that are written beside an axis: not two of them over each other."""
    if not heights:
        return []
    apart = 0.05 if len(heights) <= LEVELS else 1 / TICKS
    marked = [next(iter(heights))]
    for level, height in heights.items():
        if height - heights[marked[-1]] >= apart:
            marked.append(level)
    return marked


def _spread(heights: Sequence[float]) -> np.ndarray:
    """Heights, where those of several runs that share one are spread around it, in order."""
    found = np.array(heights, float)
    levels = np.unique(found)
    if len(levels) > LEVELS + 1:
        return found
    room = np.diff(levels).min() if len(levels) > 1 else 1.0
    band = min(WIDEST, BAND * room)
    for level in levels:
        (places,) = np.nonzero(np.array(heights) == level)
        if len(places) > 1:
            within = min(band, 0.1) if level == UNKNOWN else band
            found[places] += np.linspace(-within / 2, within / 2, len(places))
    return found


def _of_result(title: str, measured: Sequence[float], *, down: bool) -> Axis:
    """The axis of a result, linear; down: less is better, and stands higher."""
    values = np.array(measured, float)
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    step = _step(high - low)
    digits = max(0, -math.floor(math.log10(step)))
    first, last = math.floor(low / step) * step, math.ceil(high / step) * step
    last = last if last > first else first + step

    def height(value: np.ndarray | float) -> Any:
        part = (value - first) / (last - first)
        return 1 - part if down else part

    heights = np.where(np.isfinite(values), height(values), UNKNOWN)
    ticks = {}
    for number in range(round((last - first) / step) + 1):
        tick = first + number * step
        ticks[float(height(tick))] = f"{tick:.{digits}f}"
    if not np.isfinite(values).all():
        ticks[UNKNOWN] = "none"
    return Axis(title, heights, ticks)


def _step(span: float) -> float:
    """A round number, of which a span holds about TICKS."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    return next(power * step for step in (1, 2, 5, 10) if span / (power * step) <= TICKS)


# --- drawing


def _add_axes(figure: go.Figure, axes: Sequence[Axis]) -> None:
    x: list[float | None] = []
    y: list[float | None] = []
    for place in range(len(axes)):
        x += [place, place, None]
        y += [0, 1, None]
    figure.add_scatter(x=x, y=y, mode="lines", line={"color": GREY, "width": 1}, **SILENT)


def _add_ticks(figure: go.Figure, axes: Sequence[Axis]) -> None:
    """Numbers and names to the left of the axes, above all lines.

    Notes, not a trace of texts: those would fade where runs are chosen.
    """
    # Lines run below the texts: a shadow in the ground's colour keeps them readable.
    font = {"size": 12, "shadow": "auto"}
    place_of = {"xanchor": "right", "yanchor": "middle", "xshift": -5, "showarrow": False}
    notes = []
    for place, axis in enumerate(axes):
        for height, text in axis.ticks.items():
            notes.append({"x": place, "y": height, "text": text, "font": font, **place_of})
    figure.update_layout(annotations=notes)


def _lines(heights: np.ndarray) -> dict[str, list[float | None]]:
    """heights (N, axes) -> one trace of N lines, with a gap after each."""
    count = heights.shape[1]
    x: list[float | None] = []
    y: list[float | None] = []
    for line in heights.round(4).tolist():
        x += [*range(count), None]
        y += [*line, None]
    return {"x": x, "y": y}


def _repeated(values: Sequence[Any], times: int) -> list[Any]:
    return [value for value in values for _ in range(times)]


def _hover(row: pd.Series) -> str:
    """The hover text of a run: what it is called, and its results."""
    lines = [f"reference {100 * row['reference']:.1f} %"]
    if "shift" in row:
        lines.append(f"mean shift {100 * row['shift']:.1f} %")
    if "energy_gap" in row and np.isfinite(row["energy_gap"]):
        lines.append(f"energy gap {row['energy_gap']:.2f}")
    return hover_of_run(row, ", ".join(lines))
