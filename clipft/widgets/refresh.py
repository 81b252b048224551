"""A button that looks again, and a clock in the page that presses it."""

from __future__ import annotations

from collections.abc import Callable

import traitlets

from .base import STYLE, anywidget, file_text

SHORTEST = 0.5  # seconds between two looks by itself


class Refresh(anywidget.AnyWidget):
    """Calls `look` at a click, and every `value` seconds while the page is seen; 0: by hand alone.

    The clock is the page's: one that is closed asks nothing. A question that a busy kernel has not
    answered is not asked again.
    """

    _esm = file_text("refresh.js")
    _css = STYLE
    value = traitlets.Float(0.0, min=0.0).tag(sync=True)

    def __init__(self, look: Callable[[], None]):
        super().__init__()
        self._look = look
        self.on_msg(lambda *_: self._answer())

    @traitlets.validate("value")
    def _not_too_often(self, proposal: dict) -> float:
        seconds = proposal["value"]
        return max(SHORTEST, seconds) if seconds else 0.0

    def _answer(self) -> None:
        try:
            self._look()
        finally:
            self.send("answered")
