"""What chart.js draws, as plain dictionaries: marks of a panel, its axes, entries of a legend."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ..figures.style import Look

Spec = dict[str, Any]


def padded(low: float, high: float, share: float = 0.06) -> list[float]:
    """A range for an axis with some room at both ends."""
    room = share * (high - low) or 0.5
    return [float(low - room), float(high + room)]


def axis(title: str, values: np.ndarray | pd.Series) -> Spec:
    """An axis that holds all of these values."""
    span = padded(values.min(), values.max()) if len(values) else [0, 1]
    return {"title": title, "range": span}


def chart(title: str, height: int, panels: list, looks: Iterable[Look] = (), **more) -> Spec:
    """The spec of a whole chart, with a legend of those looks that have a title."""
    legend = []
    for look in looks:
        if look.title:
            legend.append({"name": look.title, "colour": look.colour, "symbol": look.symbol})
    return {"title": title, "height": height, "panels": panels, "legend": legend, **more}


def mark(kind: str, x: ArrayLike, y: ArrayLike, **looks: object) -> Spec:
    """A line, points, a path or arrows through the places (x, y)."""
    return {"kind": kind, "x": np.asarray(x).tolist(), "y": np.asarray(y).tolist(), **looks}


def run_points(runs: pd.DataFrame, x: str, y: str, *, looks: dict, hover: Callable) -> list[Spec]:
    """A point per run, marks per method; ids are the rows' labels.

    x, y: columns; looks: method -> its `Look`; hover gives a run's text.
    """
    marks = []
    for method, of_method in runs.groupby("method", sort=False):
        look = looks[method]
        points = mark("points", of_method[x], of_method[y], colour=look.colour, symbol=look.symbol)
        texts = [hover(run) for _, run in of_method.iterrows()]
        marks.append(points | {"size": 6, "text": texts, "id": of_method.index.tolist()})
    return marks
