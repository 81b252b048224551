"""Which class was taken for which, before and after tuning, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from ..config import TUNED
from ..errors import ConfigError
from .given import check_table
from .marks import CUSTOM
from .style import BELOW, COLOURS, GREY, layout, titled

if TYPE_CHECKING:
    import pandas as pd

ROW = 44  # height of a pair in pixels: two lines of text
COLUMNS = ("class", "taken for", "zero_shot", "here", "change", "n")


def confusion_figure(table: pd.DataFrame, most: int = 15) -> go.Figure:
    """The most frequent confusions of two classes: two bars each, before and after tuning.

    Arguments:
        table: of `confusion_table`.
        most: so many pairs at most, in the table's order.

    Returns:
        The figure.

    Raises:
        ConfigError: for another table, one without a row, or fewer pairs than one.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> figure = clipft.confusion_figure(clipft.confusion_table(run))
        >>> figure.layout.xaxis.title.text
        'images'
    """
    check_table(table, COLUMNS, "clipft.confusion_table")
    if most < 1:
        raise ConfigError(f"most is {most}, expected 1 or more")
    rows = table.head(most)
    about = {str(name): value for name, value in table.attrs.items()}
    here = _name_of(about.get("alpha", TUNED))

    names = []
    for one, other in zip(rows["class"], rows["taken for"], strict=True):
        # Names are no markup.
        names.append(f"{escape(one, quote=False)}<br>as {escape(other, quote=False)}")
    texts = [_hover(row, here) for row in rows.to_dict("records")]

    figure = go.Figure()
    bars: dict[str, Any] = {"y": names, "orientation": "h", "textposition": "outside"}
    bars |= {"cliponaxis": False, "customdata": texts, "hovertemplate": CUSTOM}
    for title, column, colour in (("zero-shot", "zero_shot", GREY), (here, "here", COLOURS[0])):
        counts = rows[column]
        figure.add_bar(x=counts, text=counts, name=title, marker_color=colour, **bars)

    # Room for the number beside the longest bar.
    longest = max(rows.zero_shot.max(), rows.here.max())
    figure.update_xaxes(title_text="images", range=[0, 1.12 * longest])
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_layout(**layout(t=95, b=95), height=190 + ROW * len(rows), barmode="group")
    legend = BELOW | {"y": 0, "yref": "container", "yanchor": "bottom"}
    return figure.update_layout(legend=legend, title=_title(about, len(rows), len(table)))


def _name_of(alpha: float) -> str:
    return "tuned" if alpha == TUNED else f"alpha {alpha:g}"


def _hover(row: Mapping[Any, Any], here: str) -> str:
    """What is said of a pair."""
    pair = f"{row['class']} taken for {row['taken for']}"
    lines = [pair, f"zero-shot {row['zero_shot']} of {row['n']} images"]
    lines.append(f"{here} {row['here']} ({row['change']:+.0f})")
    return "<br>".join(escape(line, quote=False) for line in lines)


def _title(about: dict[str, Any], shown: int, known: int) -> dict[str, Any]:
    """What the bars are of, and how many pairs there are."""
    pairs = about.get("pairs", known)
    details = [f"{about.get('split') or 'all test splits'}, {shown} of {pairs} pairs"]
    if about.get("run"):
        details.insert(0, escape(about["run"], quote=False))
    return titled("Which class was taken for which", *details)
