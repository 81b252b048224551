"""The house style of all figures: colours, symbols, layout, and how runs and splits are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..data.made_shifts import titled as domain_titled
from ..data.splits import SplitName
from ..errors import ConfigError
from ..methods import METHODS, POSTHOC
from ..runs.names import MethodName, ordered, recipe_in_words, title_of

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

INK = "#000000"  # the text's own colour: the painter turns it white in the dark
# Methods: Okabe and Ito's, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", INK)
# These have a colour of their own in every set of runs; others take what is left.
KNOWN_BEST = ("ft", "lipsum", "car", "flyp", "kd", "l2sp", "ema", "lp_ft")
# Splits and whatever else is no method, so that a colour means one thing on a page.
OTHER_COLOURS = (
    "#8E63CE", "#B5793B", "#C2255C", "#7CA716", "#1AA7B0", "#6B7FD7", "#9A8C00", "#A0568C",
)  # fmt: skip
SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "star", "x", "pentagon")
DASHES = ("solid", "dash", "dot", "dashdot")
GREY = "#777777"
CLEAR = "rgba(0,0,0,0)"
UNITS = {  # of metrics, as on axes
    "energy_gap": "energy gap (squared logits)",
    "feature_distortion": "feature distortion",
    "feature_distortion_normalised": "feature distortion, unit rows",
    "relative_accuracy": "relative accuracy (shift / reference)",
    "accuracy": "accuracy (fraction)",
    "nll": "NLL (nats)",
    "ece": "ECE (fraction)",
    # what `with_measures` adds
    "auroc_energy": "AUROC of the shift by energy",
    "auroc_max_softmax": "AUROC of the shift by maximum softmax",
    "fpr_energy": "FPR at 95 % TPR by energy (fraction)",
    "fpr_max_softmax": "FPR at 95 % TPR by maximum softmax (fraction)",
    "lost": "right to wrong by tuning (fraction)",
    "gained": "wrong to right by tuning (fraction)",
    "modality_gap": "modality gap",
    "modality_gap_change": "change of the modality gap",
    "alignment": "alignment with the class's text (squared distance)",
    "uniformity": "uniformity (log)",
    "cka": "CKA of the last block, before and after",
}


def _theme(ground: str, ink: str, grid: str, head: str) -> dict[str, Any]:
    """A plotly template: what of a figure's look follows the page it stands on."""
    lines = {"gridcolor": grid, "zerolinecolor": grid, "linecolor": grid}
    # Plotly would leave out the last number or name of an axis where it reaches beyond the figure.
    labels = {"automargin": True, "ticklabeloverflow": "allow", "ticklabelstandoff": 3}
    axis = lines | labels | {"title": {"standoff": 10}}
    faded = {"unselected": {"marker": {"opacity": 0.1}}}
    cells = {"header": {"fill": {"color": head}}, "cells": {"fill": {"color": ground}}}
    return {
        "layout": {
            "paper_bgcolor": ground,
            "plot_bgcolor": ground,
            "font": {"color": ink},
            "title": {"x": 0, "pad": {"l": 12}},
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {"bgcolor": head, "bordercolor": grid, "font": {"color": ink}},
            "legend": {"bgcolor": CLEAR},
            "modebar": {"bgcolor": CLEAR, "color": grid, "activecolor": ink},
        },
        "data": {"scatter": [faded], "scattergl": [faded], "table": [cells]},
    }


THEMES = {
    "light": _theme("#ffffff", "#222222", "#dddddd", "#eeeeee"),
    "dark": _theme("#111111", "#e0e0e0", "#444444", "#2a2a2a"),
    # Where nothing repaints it, in a notebook without a kernel: to be read on either ground.
    "either": _theme(CLEAR, "#7a7a7a", "rgba(128,128,128,0.3)", "rgba(128,128,128,0.15)"),
}
FONT = {"family": "Helvetica, Arial, sans-serif", "size": 14}
MARGIN = {"l": 70, "r": 20, "t": 70, "b": 60}
BELOW = {"orientation": "h", "y": -0.2}  # a legend below the panels
ABOVE = {"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom"}  # between title and axes
IN_CORNER = {  # a short legend at the upper edge, to the right of the title
    "orientation": "h", "xref": "container", "x": 0.99, "xanchor": "right",
    "yref": "container", "y": 0.96, "yanchor": "top",
}  # fmt: skip
LEGEND_LINE = 24  # height of a line of the legend, in pixels
COLUMNS = {1: 3.25, 2: 6.75}  # of a two-column paper: width in inches
POINTS = 8  # of its text


class Look(NamedTuple):
    """How a method, or whatever else is named, looks in every figure of a set."""

    title: str
    colour: str
    symbol: str
    dash: str = "solid"

    @property
    def line(self) -> dict[str, Any]:
        """Its line."""
        return {"color": self.colour, "dash": self.dash}

    def marker(self, size: int) -> dict[str, Any]:
        """Its filled marker: what is ours."""
        return {"color": self.colour, "symbol": self.symbol, "size": size}

    def hollow(self, size: int) -> dict[str, Any]:
        """Its hollow marker: what is published."""
        return self.marker(size) | {"symbol": f"{self.symbol}-open", "line": {"width": 2}}

    def points(self, x: Any, y: Any, size: int, opacity: float = 0.8) -> dict[str, Any]:
        """A trace of markers alone, named in the legend."""
        marker = self.marker(size) | {"opacity": opacity}
        return {"x": x, "y": y, "mode": "markers", "name": self.title, "marker": marker}


def style(methods: Iterable[str]) -> dict[str, Look]:
    """Method -> its look: the same in every figure of one set of runs.

    The methods of KNOWN_BEST look alike in every set. 64 pairs of colour and symbol, and 32 of
    colour and dash, before one repeats.
    """
    looks: dict[str, Look] = {}
    taken: set[int] = set()
    by_rank = sorted(ordered(methods), key=lambda method: method not in KNOWN_BEST)
    for number, method in enumerate(by_rank):
        turn = number // 8  # each turn through the colours meets other symbols and another dash
        around = [8 * turn + (_rank(method) + step) % 8 for step in range(8)]
        place = next(place for place in around if place not in taken)
        taken.add(place)
        look = (COLOURS[place % 8], SYMBOLS[(place + turn) % 8], DASHES[turn % 4])
        looks[method] = Look(title_of(method), *look)
    return {method: looks[method] for method in ordered(methods)}


def _rank(method: str) -> int:
    """Which colour a method would have; a combination's is not that of its method."""
    ranks = dict.fromkeys([*KNOWN_BEST, *METHODS, *POSTHOC])
    places = {name: rank for rank, name in enumerate(ranks)}
    name = MethodName.parse(method)
    return sum(places.get(part, 0) for part in (name.method, *name.after))


def look_of(number: int, title: str) -> Look:
    """The look of the n-th split, model or line, where it is no method that is told apart."""
    return Look(title, OTHER_COLOURS[number % 8], SYMBOLS[number % 8], dash="solid")


def layout(**margin: int) -> dict[str, Any]:
    """The layout that all figures begin with; margins that are given, in pixels: l, r, t, b."""
    from plotly.io import templates

    return {
        "template": _light_upon(templates.default),
        "font": FONT,
        "margin": MARGIN | margin,
        "hoverlabel": {"namelength": -1},
    }


@cache
def _light_upon(default: str | None) -> go.layout.Template:
    """The light theme merged into plotly's default one, which takes as long as drawing a figure."""
    from plotly.graph_objects import Figure

    figure = Figure(layout={"template": default})
    return figure.update_layout(template=THEMES["light"]).layout.template


def height_beside(legend_lines: int) -> int:
    """Height in pixels of a figure that has a long legend on its right."""
    return max(520, 160 + LEGEND_LINE * legend_lines)


def settings(row: Mapping | pd.Series) -> str:
    """How a run is called in a hover text: method, learning rate, steps, seed."""
    recipe = recipe_in_words(row["lr"], row["steps"], row["seed"])
    return f"{title_of(row['method'])}, {recipe}"


def called(row: Mapping | pd.Series) -> str:
    """What tells a run from every other, as pictures have it: its `settings` and its id."""
    return f"{settings(row)}, run {row['run']}"


def anchor_of_run(run: str) -> str:
    """The name of a run's place in a batch's page, which its points in figures lead to."""
    return f"run-{run}"


def anchor_of_recipe(recipe: str) -> str:
    """The name of a recipe's place in a batch's page, which its curves in figures lead to."""
    return f"recipe-{recipe}"


def titled(title: str, *details: str) -> dict[str, Any]:
    """A figure's title at its upper edge; its details stand on a line of their own, in small.

    One long line would be cut where the page is narrow.
    """
    text = title + "".join(f"<br><sub>{detail}</sub>" for detail in details)
    # plotly sets the first of several lines 12 pixels higher than one alone
    room = 29 if details else 17
    return {"text": text, "x": 0, "y": 1, "yanchor": "top", "pad": {"t": room, "l": 12}}


def runs_and_seeds(results: pd.DataFrame) -> str:
    """How many runs a figure shows and which seeds they have, for its title."""
    seeds = results.seed.drop_duplicates().sort_values().astype(str)
    return f"{results.run.nunique()} runs, seeds {', '.join(seeds)}"


def domain_of(split: str) -> str:
    """The domain of a split, `sketch` of `sketch/test`: how it is called in figures.

    One that is made of the reference says so: fog 3 (made).
    """
    return domain_titled(SplitName.parse(split).domain)


def domains_of(splits: Iterable[str]) -> list[str]:
    """`domain_of` each split."""
    return [domain_of(split) for split in splits]


def paper(figure: Mapping[str, Any], columns: int = 2) -> tuple[dict[str, Any], dict[str, float]]:
    """A figure's JSON without sliders and buttons; and the width and scale of its image.

    It is as wide as one or both columns of a two-column paper, 3.25 or 6.75 inches, and its text is
    8 points high. Raises ConfigError for another number of columns.
    """
    if columns not in COLUMNS:
        raise ConfigError(f"a figure of {columns} columns; a paper has 1 or 2")
    layout = dict(figure["layout"])
    for moving in ("sliders", "updatemenus"):
        layout.pop(moving, None)
    size = layout.get("font", {}).get("size", 12)
    letters = POINTS / size
    width = round(72 * COLUMNS[columns] / letters)
    return {**figure, "layout": layout}, {"width": width, "scale": COLUMNS[columns] * 96 / width}
