"""How tests read what an explorer shows: its widgets, its pictures, its tables."""

import base64
import html
import json
import re

import numpy as np
import pandas as pd

from clipft.widgets import base


def widgets(explorer):
    """Every widget of an explorer."""
    return list(base.parts(explorer.widget))


def plots(explorer):
    return [part for part in widgets(explorer) if isinstance(part, base.Plot)]


def texts(explorer):
    return "".join(part.value for part in widgets(explorer) if isinstance(part, base.Html))


def drawn(plot):
    """The figure that a page gets, as JSON has it; {} where there is none."""
    return json.loads(plot.figure, parse_constant=_refuse) if plot.figure else {}


def _refuse(word):
    raise AssertionError(f"{word} is no JSON")


def traces(plot):
    return drawn(plot).get("data", [])


def named(plot, name, kind="scatter"):
    """The one trace of this name and kind."""
    kinds = [trace for trace in traces(plot) if trace["type"] == kind]
    (trace,) = [trace for trace in kinds if trace.get("name") == name]
    return trace


def values(column):
    """A trace's x, y, ... as a list: plotly writes large arrays as base64."""
    if isinstance(column, dict):
        return np.frombuffer(base64.b64decode(column["bdata"]), column["dtype"]).tolist()
    return column


def moving(plot, name):
    """property -> its values at each alpha, of the trace of this name."""
    place = [trace.get("name") for trace in traces(plot)].index(name)
    (keys,) = [move["keys"] for move in plot.moves["traces"] if move["place"] == place]
    return keys


def table_of(text):
    """The last HTML table as a data frame of words."""
    rows = re.findall(r"<tr>(.*?)</tr>", text.rpartition("<table")[2])
    head, *body = (
        [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    )
    return pd.DataFrame(body, columns=head)
