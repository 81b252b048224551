"""What moves with alpha: a figure's slider, whose steps are the one table of it.

A saved page moves by plotly's own slider; a live view takes the slider out and goes between its
steps (`moves_of`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

States = list[dict[str, Any]]  # what a trace that moves is at each alpha: its properties
BETWEEN, NEAREST = "between", "nearest"  # how a live view goes from one scored alpha to the next
PAD = 45  # pixels from the axes to the slider
ROOM = 85  # and what it takes below that


def add_slider(
    figure: go.Figure,
    alphas: Sequence[float] | np.ndarray,
    states: Mapping[int, States],
    start: float,
    *,
    way: str = BETWEEN,
    images: Sequence[list] | None = None,
) -> None:
    """Let traces follow a slider of alpha; the figure stands at the scored alpha nearest to start.

    alphas: (A,), rising. states: place of a trace -> its properties at each alpha. way: NEAREST
    where values between two alphas mean nothing. images: of the layout, at each alpha. The
    margin below has to hold PAD + ROOM pixels.
    """
    active = int(np.abs(np.asarray(alphas) - start).argmin())
    steps = []
    for number, alpha in enumerate(alphas):
        changes = _changes(figure, {place: trace[number] for place, trace in states.items()})
        args: list[Any] = [changes]
        if images is not None:
            args.append({"images": images[number]})
        label = f"{alpha:.2f}".rstrip("0").rstrip(".")
        method = "restyle" if images is None else "update"
        step = {"label": label, "value": repr(float(alpha)), "method": method}
        steps.append(step | {"args": [*args, list(states)]})
    for place, trace in states.items():
        figure.data[place].update(trace[active])
    value = {"prefix": "alpha = "}
    slider = {"name": way, "active": active, "currentvalue": value, "pad": {"t": PAD}}
    figure.update_layout(sliders=[slider | {"steps": steps}])


def _changes(figure: go.Figure, state: Mapping[int, Mapping[str, Any]]) -> dict[str, list]:
    """A list per property with a value per trace, as restyle wants them.

    Of a trace that does not move a property, the value that it has; a null would delete it.
    """
    changes: dict[str, list] = {}
    for key in dict.fromkeys(key for trace in state.values() for key in trace):
        changes[key] = []
        for place, trace in state.items():
            own = figure.data[place][key]
            changes[key].append(trace.get(key, "" if own is None else own))
    return changes


def moves_of(figure: go.Figure) -> tuple[go.Figure, dict[str, Any]]:
    """A copy without the slider and its room, and the slider's steps as painter.js wants them.

    {t: alphas, nearest: whether to jump, traces: [{place, keys: {property: value at each alpha}}]};
    a property that stays as it is, is not in it.
    """
    copy = go.Figure(figure)
    if not figure.layout.sliders:
        return copy, {}
    (slider,) = copy.to_plotly_json()["layout"]["sliders"]
    steps = slider["steps"]
    traces = []
    for number, place in enumerate(steps[0]["args"][-1]):
        keys = {}
        for key in steps[0]["args"][0]:
            table = [_plain(step["args"][0][key][number]) for step in steps]
            if any(row != table[0] for row in table):
                keys[key] = table
        if keys:
            traces.append({"place": place, "keys": keys})
    t = [float(step["value"]) for step in steps]

    margin = max(60, (figure.layout.margin.b or 80) - ROOM)
    height = (figure.layout.height or 450) - ROOM
    copy.update_layout(sliders=[], margin={"b": margin}, height=height, overwrite=False)
    copy.layout.sliders = ()
    return copy, {"t": t, "nearest": slider["name"] == NEAREST, "traces": traces}


def _plain(value: Any) -> Any:
    """Lists and numbers, as JSON has them; not a number is none."""
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value
