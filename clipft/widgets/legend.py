"""A legend of many entries, which can be searched: a field, and below it a list in a box."""

from __future__ import annotations

from typing import Any

import traitlets

from .base import STYLE, anywidget, file_text


class Legend(anywidget.AnyWidget):
    """A searched legend.

    entries are {name, count, colour, symbol}; shown are the numbers of those whose name holds what
    is typed, `find`, and chosen the numbers of those that are picked: all that are found, or by
    click one, with Ctrl several.
    """

    _esm = file_text("legend.js")
    _css = STYLE
    entries: Any = traitlets.List(traitlets.Dict()).tag(sync=True)
    find: Any = traitlets.Unicode().tag(sync=True)
    shown: Any = traitlets.List(traitlets.Int()).tag(sync=True)
    chosen: Any = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, entries: list[dict[str, Any]]):
        super().__init__(entries=entries, shown=list(range(len(entries))))

    @traitlets.observe("find")
    def _found(self, _change: object) -> None:
        wanted = self.find.strip().casefold()
        names = [entry["name"].casefold() for entry in self.entries]
        self.shown = [number for number, name in enumerate(names) if wanted in name]
        self.chosen = self.shown if wanted else []
