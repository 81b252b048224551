"""The house style of all figures: colours, symbols and layout, and how a run is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..tables import ordered, title_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIG = {"displaylogo": False, "showSendToCloud": False, "responsive": True}  # nothing leaves the page
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")  # Okabe and Ito
SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "star", "x", "pentagon")
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
