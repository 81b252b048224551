"""Who answers a board: questions in, JSON and arrays out, from records alone.

A question is a JSON object {what, ...}; for a picture {what: "figure", name, ...}. Live a kernel
answers when it is asked; for a saved page the questions that it may ask are answered in advance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RunError
from ..figures.markup import moves_with_plain_names, with_plain_names
from ..figures.moves import moves_of
from .scripts import packed

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Question = Mapping[str, Any]
Asked = Iterable[Question] | Callable[[], Iterable[Question]]
# Kinds of arrays, as store.js knows them.
KINDS = {
    np.dtype(np.float64): "f8", np.dtype(np.float32): "f4", np.dtype(np.int32): "i4",
    np.dtype(np.uint32): "u4", np.dtype(np.uint16): "u2", np.dtype(np.uint8): "u1",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a view gets: JSON, and arrays of one of KINDS, which arrive flat."""

    json: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, str]:
        """Of each array."""
        return {name: KINDS[array.dtype] for name, array in self.arrays.items()}

    def buffers(self) -> dict[str, bytes]:
        """Each array as bytes, the lowest first."""
        return {name: _bytes(array) for name, array in self.arrays.items()}


def _bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def key_of(question: Question) -> str:
    """A question's name, as store.js has it: numbers are texts in it, as a page writes them."""
    told = _with_texts(dict(question))
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _with_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_texts(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(part) for part in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _as_page_writes(float(value))
    return value


def _as_page_writes(number: float) -> str:
    """A number as JavaScript's String has it: 1, 0.00001, 1e-7."""
    text = repr(number)
    if number.is_integer() and abs(number) < 1e21:
        return f"{Decimal(text) + 0:.0f}"  # + 0: of -0 no sign is written
    mantissa, is_small, exponent = text.partition("e")
    if not is_small:
        return text
    if -7 < int(exponent) < 0:
        return format(Decimal(text), "f")
    return f"{mantissa}e{int(exponent):+d}"


class Desk:
    """Answers the questions that it was taught.

    Example:
        >>> from clipft.boards.desk import Answer, Desk
        >>> desk = Desk()
        >>> desk.teach("twice", lambda question: Answer({"is": 2 * question["of"]}))
        >>> desk.answer({"what": "twice", "of": 4}).json
        {'is': 8}
    """

    def __init__(self) -> None:
        self._answers: dict[str, Callable[[Question], Answer]] = {}
        self._saved: list[tuple[dict[str, Any], Asked]] = []
        self.teach("library", _library)

    def teach(self, what: str, answer: Callable[[Question], Answer], saved: Asked = ()) -> None:
        """Let a function answer a kind of question.

        what: its kind; "figure NAME" for a picture. saved: what such questions say beside that,
        which a saved page answers; or what gives it then.
        """
        self._answers[what] = answer
        kind, _, name = what.partition(" ")
        asked = {"what": kind, "name": name} if kind == "figure" else {"what": what}
        self._saved.append((asked, saved))

    def saved(self) -> list[Question]:
        """The questions that a saved page answers."""
        questions: list[Question] = []
        for asked, saved in self._saved:
            more = saved() if callable(saved) else saved
            questions += [asked | dict(question) for question in more]
        return questions

    def answer(self, question: Question) -> Answer:
        """The answer. Raises ClipftError, with the line that a view shows, where there is none."""
        what = str(question.get("what"))
        if what == "figure":
            what = f"figure {question.get('name')}"
        if what not in self._answers:
            raise RunError(f"nobody here knows {what!r}")
        found = self._answers[what](question)
        return Answer(_finite(found.json), found.arrays)


def _finite(value: Any) -> Any:
    """JSON, which knows no number that is none."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _library(question: Question) -> Answer:
    script = np.frombuffer(packed(question["name"]), np.uint8)
    return Answer(arrays={"packed": script})


def painted(figure: go.Figure | None, **said: Any) -> Answer:
    """A picture as an answer; its slider's place is taken by the board's alpha."""
    if figure is None:
        return Answer({"figure": "", "moves": {}} | said)
    still, moves = moves_of(figure)
    text = with_plain_names(still.to_json())
    return Answer({"figure": text, "moves": moves_with_plain_names(moves)} | said)


def said(
    *paragraphs: object, heading: str = "", table: pd.DataFrame | None = None
) -> dict[str, Any]:
    """A heading, sentences and a table, as chart.js shows them."""
    part: dict[str, Any] = {"paragraphs": [str(text) for text in paragraphs]}
    if heading:
        part["heading"] = heading
    if table is not None:
        part["table"] = rows_of(table)
    return part


def rows_of(table: pd.DataFrame) -> dict[str, Any]:
    """A table as texts: {columns, rows}."""
    # Not astype(str): of a missing text it would make a number that JSON does not know.
    rows = [[str(cell) for cell in row] for row in table.astype(object).to_numpy().tolist()]
    return {"columns": list(map(str, table.columns)), "rows": rows}


@dataclass(frozen=True)
class SavedImages:
    """Thumbnails of a data set, id -> WebP; `of` names the data, so that boards can share them."""

    of: str
    by_id: dict[str, bytes]


@dataclass
class Board:
    """What a board shows: its views, the state that it begins with, and who answers.

    Arguments:
        panes: side by side, each of one view or of several as tabs.
        state: names and values, see board.js.
        desk: who answers.
        runs: (title, id) of those that can be shown.
        charts: what pictures with menus have: see `ChartView` in chart.js.
        bar: whether run and alpha stand above all views.
        selected: whether the selected images are listed below.
        similar: whether "similar" is answered.
        images: gives the thumbnails of a saved page.
        first: questions whose answers come along, as a busy kernel would give them late.
    """

    panes: list[list[str]]
    desk: Desk
    state: dict[str, Any] = field(default_factory=dict)
    runs: Sequence[tuple[str, str]] = ()
    charts: dict[str, Any] = field(default_factory=dict)
    bar: bool = False
    selected: bool = False
    similar: bool = False
    images: Callable[[], SavedImages] | None = None
    first: Sequence[Question] = ()

    @property
    def known_runs(self) -> set[str]:
        """The ids that its state `run` may have."""
        runs = {run for _, run in self.runs}
        for chart in self.charts.values():
            if "runs" in chart:
                runs |= {"", *chart["runs"]}
        return runs

    @property
    def about(self) -> dict[str, Any]:
        """What the page is told of it."""
        return {
            "panes": self.panes,
            "runs": [list(run) for run in self.runs],
            "charts": self.charts,
            "bar": self.bar,
            "selected": self.selected,
            "similar": self.similar,
        }
