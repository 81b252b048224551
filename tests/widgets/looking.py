"""How tests read what an explorer shows: its answers, its pictures."""

import base64
import gzip
import json

import numpy as np
import pandas as pd

from clipft.boards.desk import Answer


def asked(explorer, what, **more):
    """The answer to a question of the page; `figure NAME` asks for a picture."""
    kind, _, name = what.partition(" ")
    return explorer.board.desk.answer({"what": kind} | ({"name": name} if name else {}) | more)


def drawn(shown):
    """The figure that a page gets, of an answer or a plot, as JSON has it; {} where there is
    none.
    """
    text = shown.json["figure"] if isinstance(shown, Answer) else shown.figure
    return json.loads(text, parse_constant=refuse) if text else {}


def moves(shown):
    return shown.json["moves"] if isinstance(shown, Answer) else shown.moves


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


def traces(shown):
    return drawn(shown).get("data", [])


def named(shown, name, kind="scatter"):
    """The one trace of this name and kind."""
    kinds = [trace for trace in traces(shown) if trace["type"] == kind]
    (trace,) = [trace for trace in kinds if trace.get("name") == name]
    return trace


def values(column):
    """A trace's x, y, ... as a list: plotly writes large arrays as base64."""
    if isinstance(column, dict):
        return np.frombuffer(base64.b64decode(column["bdata"]), column["dtype"]).tolist()
    return column


def moving(shown, name):
    """property -> its values at each alpha, of the trace of this name."""
    place = [trace.get("name") for trace in traces(shown)].index(name)
    (keys,) = [move["keys"] for move in moves(shown)["traces"] if move["place"] == place]
    return keys


def points(shown, runs):
    """Run -> its point in the picture."""
    found = {}
    for trace in traces(shown):
        numbers = (trace.get("meta") or {}).get("id", [])
        for number, *place in zip(
            numbers, values(trace["x"]), values(trace["y"]), strict=bool(numbers)
        ):
            found[runs[number]] = tuple(place)
    return found


def table_of(said):
    """A table of an answer as a data frame of words."""
    return pd.DataFrame(said["rows"], columns=said["columns"])


def unpacked(record, key):
    """An answer of a saved page: its JSON, and the bytes of its arrays."""
    answer = record["answers"][key]
    blobs = {
        name: gzip.decompress(base64.b64decode(record["blobs"][digest]))
        for name, digest in answer["blobs"].items()
    }
    return json.loads(blobs.pop("json")), blobs
