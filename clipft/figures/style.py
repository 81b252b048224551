"""The house style of all figures: colours, symbols and layout, and how a run is called."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..runs.names import ordered, title_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import plotly.graph_objects as go

CONFIG = {
    "displaylogo": False,
    "showSendToCloud": False,
    "responsive": True,
}  # nothing leaves the page
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#F0E442",
    "#000000",
)  # Okabe and Ito
SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "star", "x", "pentagon")
COLUMNS = {1: 3.25, 2: 6.75}  # inches of a two-column paper
DASHES = ("solid", "dash", "dot", "dashdot")
GREY = "#777777"
UNITS = {  # of metrics, as on axes
    "energy_gap": "energy gap (squared logits)",
    "feature_distortion": "feature distortion",
    "feature_distortion_normalised": "feature distortion, unit rows",
    "relative_accuracy": "relative accuracy (shift / reference)",
    "accuracy": "accuracy (fraction)",
    "nll": "NLL (nats)",
    "ece": "ECE (fraction)",
}
LAYOUT = {
    "template": "plotly_white",
    "font": {"family": "Helvetica, Arial, sans-serif", "size": 14},
    "margin": {"l": 70, "r": 20, "t": 70, "b": 60},
    "hoverlabel": {"namelength": -1},
}


def paper(figure: go.Figure, columns: int = 2) -> go.Figure:
    """A copy at the width of one or both columns of a two-column paper, without sliders and buttons.

    Set it at 3.25 or 6.75 inches: text is then 8 points high. Raises ConfigError for another number of columns.
    """
    import plotly.graph_objects as go

    if columns not in COLUMNS:
        raise ConfigError(
            f"a figure of {columns} columns; a paper has {' or '.join(map(str, COLUMNS))}"
        )
    copy = go.Figure(figure)
    width = round(
        COLUMNS[columns] * 96 * (copy.layout.font.size or 12) * 72 / 96 / 8
    )  # 8 points of 1/72 inch when set
    copy.update_layout(
        width=width, height=round((copy.layout.height or 450) * (1 if columns == 2 else 0.75))
    )
    copy.layout.sliders, copy.layout.updatemenus = [], []
    if columns == 1:  # no room beside the axes, nor for a long line along them
        copy.update_layout(
            legend={"orientation": "h", "y": -0.35, "x": 0}, margin={"l": 80, "r": 10, "b": 90}
        )
        titles = [
            copy.layout.title,
            *(axis.title for axis in (*copy.select_xaxes(), *copy.select_yaxes())),
        ]
        for title in titles:
            title.text = "<br>".join(textwrap.wrap(title.text or "", 34)) or None
    return copy


def style(methods: Sequence[str]) -> dict[str, tuple[str, str, str, str]]:
    """Method -> (title, colour, symbol, dash): the same in every figure of one set of runs.

    64 pairs of colour and symbol, and 32 of colour and dash, before one repeats.
    """
    return {
        name: (title_of(name), COLOURS[i % 8], SYMBOLS[(i + i // 8) % 8], DASHES[i // 8 % 4])
        for i, name in enumerate(ordered(methods))
    }


def settings(row: Mapping) -> str:
    """How a run is called in a hover text: method, learning rate, steps, seed."""
    return f"{title_of(row['method'])}, lr {row['lr']:g}, {row['steps']} steps, seed {row['seed']}"
