"""Maps of energy vectors, before and after tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import ConfigError, unknown
from .given import check_fields
from .marks import FIRST, SECOND, SILENT, hover
from .style import BELOW, GREY, OTHER_COLOURS, SYMBOLS, Look, domain_of, layout, look_of, titled

if TYPE_CHECKING:
    from ..diagnostics.energy_map import EnergyMap
    from ..runs.sweep import Sweep

Places = Literal["both", "side by side", "before", "after"]
Colouring = Literal["split", "class", "gap"]
# from viridis: small to large gap
SCALE = ("#3B528B", "#2C728E", "#21918C", "#3FBC73", "#AADC32", "#E5C100")
PANELS = ("zero-shot", "tuned")
SHOWN = {  # what the title says of it
    "both": "a line from each image's zero-shot place, grey, to its tuned one",
    "side by side": "",
    "before": "zero-shot",
    "after": "tuned",
}
CLASS_LOOKS = [Look("", colour, symbol) for symbol, colour in product(SYMBOLS, OTHER_COLOURS)]


@dataclass(frozen=True)
class Group:
    """Images that are one trace; `title` is "" where the legend does not name them."""

    title: str
    colour: str
    symbol: str | list[str]
    images: np.ndarray  # their numbers in the map

    def trace(self, places: np.ndarray, size: int) -> dict[str, Any]:
        """Their points; places (N, 2) of all images."""
        marker = {"color": self.colour, "symbol": self.symbol, "size": size, "opacity": 0.75}
        x, y = places[self.images].T
        named = {"name": self.title, "legendgroup": self.title}
        return {"x": x, "y": y, "mode": "markers", "marker": marker, **named}


def energy_map_figure(
    energy_map: EnergyMap,
    sweep: Sweep | None = None,
    *,
    places: Places = "side by side",
    colour: Colouring = "split",
) -> go.Figure:
    """t-SNE of energy vectors before and after tuning.

    The legend hides a split everywhere. Source: Lipsum-FT, arXiv:2404.00860.

    Arguments:
        energy_map: of `clipft.energy_map`.
        sweep: of the same run, for its title, class names, predictions and energy gaps.
        places: a panel of each model ("side by side"), one of both with a line from each image's
            zero-shot place to its tuned one ("both"), or that of one model ("before", "after").
        colour: what colours say: "split", "class" or "gap", from small to large; splits where no
            gap of single images is known.

    Returns:
        The figure.

    Raises:
        ConfigError: for other places or colours, and where the sweep is of another run.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> places = clipft.energy_map(run, per_split=10, perplexity=5)
        >>> figure = clipft.energy_map_figure(places)
        >>> [title.text for title in figure.layout.annotations]
        ['zero-shot', 'tuned']
        >>> arrows = clipft.energy_map_figure(places, run.sweep(), places="both", colour="class")
    """
    check_fields(energy_map, ("split", "before", "after"), "what clipft.energy_map gives")
    for kind, given, known in (("places", places, Places), ("colour", colour, Colouring)):
        if given not in get_args(known):
            raise unknown(kind, given, get_args(known))
    rows = None if sweep is None else rows_in(sweep, energy_map)
    groups = _groups(energy_map, sweep, rows, colour)
    texts = _texts(energy_map, sweep, rows)

    if places == "side by side":
        figure = make_subplots(1, 2, subplot_titles=PANELS, horizontal_spacing=0.03)
        for group in groups:
            _add_images(figure, group, energy_map.before, texts, FIRST)
            _add_images(figure, group, energy_map.after, texts, SECOND)
    else:
        figure = make_subplots(1, 1)
        if places == "both":
            _add_arrows(figure, groups, energy_map)
        shown = energy_map.before if places == "before" else energy_map.after
        for group in groups:
            _add_images(figure, group, shown, texts, FIRST)

    x, y = np.concatenate([energy_map.before, energy_map.after]).T
    # An image that did not move lies in the same place of every panel.
    figure.update_xaxes(showticklabels=False, zeroline=False, range=_padded(x))
    figure.update_yaxes(showticklabels=False, zeroline=False, range=_padded(y))
    height = 520 if places == "side by side" else 600
    legend = BELOW | {"y": -0.03}  # there are no numbers along the axes
    figure.update_layout(**layout(l=20, t=90, b=20), height=height, legend=legend)
    return figure.update_layout(title=_title(energy_map, sweep, places), dragmode="lasso")


def _title(energy_map: EnergyMap, sweep: Sweep | None, places: str) -> dict[str, Any]:
    title = "t-SNE of energy vectors"
    run: Sequence[str] = ()
    if sweep is not None:
        title += f": {sweep.title}"
        run = sweep.details
    images = ", ".join([*run, f"{len(energy_map.ids)} images"])
    details = [images, SHOWN[places], "the axes have no unit"]
    return titled(title, "; ".join(filter(None, details)))


def rows_in(sweep: Sweep, energy_map: EnergyMap) -> np.ndarray:
    """(N,) the sweep's row of each image of the map; raises ConfigError where it has none."""
    images = zip(sweep.split.tolist(), sweep.ids.tolist(), strict=True)
    row_of = {image: row for row, image in enumerate(images)}
    try:
        wanted = zip(energy_map.split, energy_map.ids, strict=True)
        return np.array([row_of[image] for image in wanted])
    except KeyError as error:
        text = f"the map holds {error}, which {sweep.title} was not scored on; use one run's"
        raise ConfigError(text) from None


def look_of_class(label: int) -> Look:
    """How a class looks: 64 pairs of colour and symbol before one repeats."""
    return CLASS_LOOKS[label % len(CLASS_LOOKS)]


def _groups(
    energy_map: EnergyMap, sweep: Sweep | None, rows: np.ndarray | None, colour: str
) -> list[Group]:
    if colour == "class":
        return _by_class(energy_map.label)
    if colour == "gap" and sweep is not None and sweep.energy_gap is not None:
        return _by_gap(sweep.energy_gap[-1, rows])
    return _by_split(np.array(energy_map.split))


def _by_split(splits: np.ndarray) -> list[Group]:
    """In the order in which they come."""
    groups = []
    for number, split in enumerate(dict.fromkeys(splits.tolist())):
        look = look_of(number, domain_of(split))
        groups.append(Group(*look[:3], np.flatnonzero(splits == split)))
    return groups


def _by_class(labels: np.ndarray) -> list[Group]:
    """All classes of a colour together: a trace for each would be slow, and too many to name."""
    looks = [look_of_class(label) for label in labels]
    colours = np.array([look.colour for look in looks])
    groups = []
    for colour in OTHER_COLOURS:
        images = np.flatnonzero(colours == colour)
        if len(images):
            groups.append(Group("", colour, [looks[i].symbol for i in images], images))
    return groups


def _by_gap(gap: np.ndarray) -> list[Group]:
    """Sixths of the images, from small to large energy gap."""
    edges = np.quantile(gap, np.linspace(0, 1, len(SCALE) + 1))
    sixths = np.clip(np.searchsorted(edges, gap, side="right") - 1, 0, len(SCALE) - 1)
    groups = []
    for number, colour in enumerate(SCALE):
        images = np.flatnonzero(sixths == number)
        title = f"gap {edges[number]:.2f} to {edges[number + 1]:.2f}"
        if len(images):
            groups.append(Group(title, colour, "circle", images))
    return groups


def _texts(energy_map: EnergyMap, sweep: Sweep | None, rows: np.ndarray | None) -> list[str]:
    """What is said of each image on hover: names of classes and files are no markup."""
    texts = []
    for number, (split, image) in enumerate(zip(energy_map.split, energy_map.ids, strict=True)):
        label = energy_map.label[number]
        name = f"class {label}" if sweep is None else sweep.name_of(label)
        lines = [name, f"{domain_of(split)}: {image}"]
        if sweep is not None and rows is not None:
            lines += _scores(sweep, rows[number])
        texts.append("<br>".join(escape(line, quote=False) for line in lines))
    return texts


def _scores(sweep: Sweep, row: int) -> list[str]:
    """Both models' predictions of an image, and its energy gap."""
    lines = []
    for model, place in (("zero-shot", 0), ("tuned", -1)):
        predicted = sweep.prediction[place, row]
        mark = "✓" if sweep.correct[place, row] else "✗"
        lines.append(f"{model} {mark} {sweep.name_of(predicted)}")
    if sweep.energy_gap is not None:
        lines.append(f"energy gap {sweep.energy_gap[-1, row]:.2f} squared logits")
    return lines


def _add_images(
    figure: go.Figure, group: Group, places: np.ndarray, texts: list[str], panel: dict[str, int]
) -> None:
    """A group's images where one model has them; they can be chosen."""
    trace = group.trace(places, size=7)
    trace |= {
        "customdata": [texts[i] for i in group.images],
        "hovertemplate": hover("%{customdata}"),
    }
    named = bool(group.title) and panel == FIRST
    figure.add_scatter(**trace, showlegend=named, meta={"id": group.images.tolist()}, **panel)


def _add_arrows(figure: go.Figure, groups: list[Group], energy_map: EnergyMap) -> None:
    """A line and a grey point for each image, below all images; they fade with it."""
    for group in groups:
        images = group.images
        ends = np.stack([energy_map.before[images], energy_map.after[images]])
        gap = np.full_like(ends[:1], np.nan)  # between two lines
        x, y = np.concatenate([ends, gap]).transpose(2, 1, 0).reshape(2, -1)
        line = {"mode": "lines", "line": {"color": group.colour, "width": 1}, "opacity": 0.45}
        meta = {"with": np.repeat(images, 3).tolist()}
        named = {"name": "arrows", "legendgroup": group.title}
        figure.add_scatter(x=x, y=y, **line, **named, **SILENT, meta=meta, **FIRST)
    for group in groups:
        trace = group.trace(energy_map.before, size=4)
        trace["marker"] |= {"color": GREY, "symbol": "circle"}
        trace["name"] = "zero-shot"
        meta = {"with": group.images.tolist()}
        figure.add_scatter(**trace, **SILENT, meta=meta, **FIRST)


def _padded(values: np.ndarray) -> list[float]:
    """A range with some room at both ends."""
    low = float(values.min())
    high = float(values.max())
    room = 0.04 * (high - low) or 0.5
    return [low - room, high + room]
