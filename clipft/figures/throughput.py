"""What a machine takes for each part of the work, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from ..runs.throughput import BY_PROCESSES, bottleneck, shown, title_of_part, verdict
from .given import check_table
from .marks import hover
from .style import COLOURS, OTHER_COLOURS, layout, titled

if TYPE_CHECKING:
    import pandas as pd

BAR = 40  # height in pixels


def throughput_figure(table: pd.DataFrame) -> go.Figure:
    """Milliseconds that each part of the work takes of an image, or a text; the rate beside it.

    What a training waits for has a colour of its own.

    Arguments:
        table: of `clipft.throughput`.

    Returns:
        The figure.

    Raises:
        ConfigError: for another table.

    Example:
        >>> import pandas
        >>> columns = ["part", "rate", "unit", "by", "of_ft"]
        >>> rows = [["load", 310.0, "images", "2 processes", float("nan")]]
        >>> rows += [["ft", 890.0, "images", "a card", 1.0]]
        >>> figure = clipft.throughput_figure(pandas.DataFrame(rows, columns=columns))
        >>> figure.layout.xaxis.title.text
        'milliseconds an image, or a text'
    """
    check_table(table, ("part", "rate", "unit", "by", "of_ft"), "clipft.throughput")
    slowest = bottleneck(table)
    colours = []
    for part, unit in zip(table.part, table.unit, strict=True):
        of_unit = COLOURS[0] if unit == "images" else OTHER_COLOURS[0]
        colours.append(COLOURS[1] if part == slowest else of_unit)

    names = []
    for part, by in zip(table.part, table.by, strict=True):
        below = f"<br>by {by}" if part in BY_PROCESSES else ""
        names.append(f"{title_of_part(part)}{below}")
    rates = [f"{row['a second']}/s" for row in shown(table)]
    figure = go.Figure()
    figure.add_bar(
        x=1000 / table.rate,
        y=names,
        orientation="h",
        marker_color=colours,
        text=rates,
        textposition="outside",
        cliponaxis=False,
        customdata=table.by,
        hovertemplate=hover("%{y}", "%{x:.3g} ms by %{customdata}", "%{text}"),
    )
    figure.update_yaxes(autorange="reversed")
    # Room for the number beside the longest bar.
    longest = float((1000 / table.rate).max())
    figure.update_xaxes(title_text="milliseconds an image, or a text", range=[0, 1.7 * longest])
    about = table.attrs
    details = []
    if about:
        batch = f"batches of {about['batch_size']}"
        details.append(f"{about['model']}, {about['precision']}, {batch}, {about['device']}")
    details += verdict(table).split("; ")
    title = titled("Throughput of each part of a run", *details)
    margins = layout(t=60 + 20 * len(details))
    height = 130 + 20 * len(details) + BAR * len(table)
    return figure.update_layout(**margins, title=title, height=height)
