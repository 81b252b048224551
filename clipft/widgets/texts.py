"""Sentences, tables and images as HTML; names of classes, files and runs are escaped here."""

import html
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ..runs.sweep import Sweep
from ..runs.thumbnails import Thumbnails

TILES = 24  # thumbnails shown at once


def paragraph(text: object) -> str:
    """A sentence as HTML."""
    return f"<p>{html.escape(str(text))}</p>"


def heading(text: object) -> str:
    """A title as HTML."""
    return f"<h4>{html.escape(str(text))}</h4>"


def duration(seconds: float) -> str:
    """A time in its two largest units: `1 hour 5 minutes`, `40 seconds`."""
    whole = round(seconds)
    if whole >= 3600:
        whole = 60 * round(whole / 60)
    hours, rest = divmod(whole, 3600)
    parts = []
    for count, unit in ((hours, "hour"), (rest // 60, "minute"), (rest % 60, "second")):
        if count:
            parts.append(f"{count} {unit}" if count == 1 else f"{count} {unit}s")
    return " ".join(parts) or "less than a second"


def table_html(frame: pd.DataFrame) -> str:
    """A data frame as an HTML table, values as given; columns of numbers stand to the right."""
    classes = [_class_of(frame[name]) for name in frame.columns]
    rows = [_row_html("th", frame.columns, classes)]
    for values in frame.itertuples(index=False):
        rows.append(_row_html("td", values, classes))
    return f"<table class='clipft-table'>{''.join(rows)}</table>"


def _class_of(column: pd.Series) -> str:
    is_numeric = all(str(value).lstrip("+-")[:1].isdigit() for value in column)
    return " class='clipft-number'" if is_numeric else ""


def _row_html(tag: str, values: Iterable, classes: Sequence[str]) -> str:
    cells = []
    for value, css in zip(values, classes, strict=True):
        cells.append(f"<{tag}{css}>{html.escape(str(value))}</{tag}>")
    return f"<tr>{''.join(cells)}</tr>"


def tiles_html(
    sweep: Sweep, rows: np.ndarray, thumbnails: Thumbnails, *, places: list[int], gap: bool = False
) -> str:
    """The first images of these rows, with their count and what the sweep says of each.

    places: of the alphas whose predictions are named; gap: whether the energy gap is, too.
    """
    tiles = []
    for row in rows[:TILES]:
        name = html.escape(sweep.name_of(sweep.label[row]))
        file = html.escape(sweep.ids[row])
        image = f"<div class='clipft-grey' title='no image at hand: {file}'></div>"
        address = thumbnails[sweep.ids[row]]
        if address:
            image = f"<img src='{address}' alt='{name}' title='{file}'>"
        lines = [f"<b>{name}</b>"]
        if gap and sweep.energy_gap is not None:
            lines.append(f"gap {sweep.energy_gap[-1, row]:.1f}")
        for label in sweep.prediction[places, row]:
            # A mark says whether it is right: colour alone would not reach everybody.
            sign = "✓" if label == sweep.label[row] else "✗"
            lines.append(f"{sign} {html.escape(sweep.name_of(label))}")
        caption = f"<figcaption>{'<br>'.join(lines)}</figcaption>"
        tiles.append(f"<figure>{image}{caption}</figure>")

    count = f"{len(tiles)} of {len(rows)} images" if tiles else "no image"
    return f"{paragraph(count)}<div class='clipft-tiles'>{''.join(tiles)}</div>"
